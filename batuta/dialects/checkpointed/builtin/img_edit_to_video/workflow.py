"""Image Edit to Video: upload a picture, have it changed, have a film made of it.

With FAL_KEY (or OPENAI_API_KEY for the picture) the providers do it; without a key, results are
made up, so that the workflow can be tried anywhere. The picture is kept at Cloudinary where the
environment names an account, else by this server.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import Any

from msgspec.structs import replace

from batuta.dialects.checkpointed.author import BaseWorkflow, HardError, RetryableError
from batuta.dialects.checkpointed.builtin.img_edit_to_video.cloudinary import account_of, upload
from batuta.runtime.clock import pause
from batuta.workers.media import make
from batuta.workers.media.ai import Services
from batuta.workers.media.call import NodeError, TroubleError, Waiting
from batuta.workers.media.provider import fal
from batuta.workers.media.source import as_sent, image_bytes

# What the configuration calls a model, and where fal has it.
EDITORS = {"nano-banana": "fal-ai/nano-banana/edit", "flux-kontext-pro": "fal-ai/flux-pro/kontext"}
FILM_MAKERS = {
    "minimax/video-01": "fal-ai/minimax/video-01/image-to-video",
    "kling/v1.6": "fal-ai/kling-video/v1.6/standard/image-to-video",
}
_STATUS = re.compile(r"answered (\d{3})")
_QUOTA = re.compile(r"(?i)quota|credit|balance|billing")

Ask = Callable[[dict[str, Any]], Awaitable[str | Waiting]]


class ImgEditToVideoWorkflow(BaseWorkflow):
    """The three steps."""

    async def step_upload(self, input_file: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        """Keep the picture where the next steps, and a retry next week, find it."""
        url = input_file.get("url") or input_file.get("image_url")
        if not isinstance(url, str) or not url:
            raise HardError("an image is needed: send it as the field 'file'")
        async with _failures("cloudinary"):
            raw, media_type = await image_bytes(self._services(), url)
            account = account_of(self.environment)
            if account is not None:
                return await upload(account, raw, media_type, self.job_id)
        if not url.startswith("/files/"):
            url = await self.save_file(raw, media_type)
        name = PurePosixPath(url)
        return {"image_url": url, "public_id": name.stem, "format": name.suffix[1:]}

    async def step_image_edit(self, given: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
        """Have the picture changed."""
        model, prompt, services = self._model(step), self._prompt(step), self._services()
        image_url = given["image_url"]
        async with _failures("fal" if services.ai.fal_key else "openai", model):
            if services.ai.fal_key and not services.ai.is_fake:
                sent = await as_sent(services, image_url)
                body: dict[str, Any] = {"prompt": prompt, "image_url": sent}
                if model == "nano-banana":
                    body = {"prompt": prompt, "image_urls": [sent]}
                path = EDITORS.get(model, model)
                edited = await self._queued(path, body, "image", make.IMAGE_ASKS_MAX)
            else:
                edited = await self._waited_for(
                    lambda state: make.edit_image(
                        services,
                        image_url=image_url,
                        prompt=prompt,
                        state=state,
                        workflow_id=self.job_id,
                    )
                )
        return {"edited_image_url": edited, "model_used": model, "prompt": prompt}

    async def step_video_generation(
        self, given: dict[str, Any], step: dict[str, Any]
    ) -> dict[str, Any]:
        """Have a film made of the changed picture."""
        model, prompt, services = self._model(step), self._prompt(step), self._services()
        image_url = given["edited_image_url"]
        async with _failures("fal", model):
            if services.ai.fal_key and not services.ai.is_fake:
                body = {"prompt": prompt, "image_url": await as_sent(services, image_url)}
                path = FILM_MAKERS.get(model, model)
                film = await self._queued(path, body, "video", make.FILM_ASKS_MAX)
            else:
                offline = replace(services, ai=replace(services.ai, is_fake=True))
                film = await self._waited_for(
                    lambda state: make.make_video(
                        offline,
                        prompt=prompt,
                        image_url=image_url,
                        state=state,
                        workflow_id=self.job_id,
                    )
                )
        return {"video_url": film, "model_used": model, "prompt": prompt}

    def _services(self) -> Services:
        """Return whom to ask; nobody where there is no key at all."""
        services = self.services
        if services is None:
            raise HardError("this workflow runs in a server only")
        ai = services.ai
        is_fake = ai.is_fake or not (ai.fal_key or ai.openai_key)
        return replace(services, ai=replace(ai, is_fake=is_fake))

    def _model(self, step: dict[str, Any]) -> str:
        models = self.options.get("models")
        chosen = models.get(step["name"]) if isinstance(models, dict) else None
        return str(chosen or step.get("default_model") or "")

    def _prompt(self, step: dict[str, Any]) -> str:
        prompts = self.options.get("prompts")
        chosen = prompts.get(step["name"]) if isinstance(prompts, dict) else None
        return str(chosen or (self.config.get("default_prompts") or {}).get(step["name"]) or "")

    async def _queued(self, model: str, body: dict[str, Any], kind: str, asks_max: int) -> str:
        return await self._waited_for(
            lambda state: fal.queued(
                self._services(),
                model,
                body,
                state,
                kind=kind,
                asks_max=asks_max,
                workflow_id=self.job_id,
            )
        )

    async def _waited_for(self, ask: Ask) -> str:
        """Ask until it is done."""
        found = await ask({})
        asked = 0
        while isinstance(found, Waiting):
            asked += 1
            self.report_progress(100 * asked / (asked + 10), "waiting for the provider")
            await pause(found.wait_ms / 1_000)
            found = await ask(found.state)
        return found


@asynccontextmanager
async def _failures(provider: str, model: str = "") -> AsyncIterator[None]:
    """Say of a provider's trouble what kind it is, so that the job waits for the right thing."""
    try:
        yield
    except TroubleError as error:
        text = str(error)
        is_slow = "did not answer within" in text
        kind = "timeout" if is_slow else "api_error"
        wait_s = error.wait_ms / 1_000 or None
        if "answered 429" in text:
            kind = "quota_exceeded" if _QUOTA.search(text) else "rate_limit"
        raise RetryableError(
            text, kind, retry_after=wait_s, model=model, provider=provider
        ) from error
    except NodeError as error:
        text = str(error)
        found = _STATUS.search(text)
        status = found[1] if found else ""
        if status == "402" or (status == "403" and _QUOTA.search(text)):
            kind = "quota_exceeded"
        elif status in {"401", "403"}:
            kind = "invalid_key"
        else:
            raise HardError(text) from error
        raise RetryableError(text, kind, model=model, provider=provider) from error
