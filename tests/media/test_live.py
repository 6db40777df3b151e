"""All node types through providers that speak OpenAI's and fal's protocols."""

import base64
from typing import Any

import pytest

from batuta.store.blob.media import MediaFiles
from batuta.workers.media.ai import Services
from batuta.workers.media.nodes import NODE_TYPES
from tests.media.conftest import PARALLEL, do, live, raw_of
from tests.media.providers import FAL_KEY, OPENAI_KEY, PICTURE, SOUND, Providers

SERVICES = [node.name for node in NODE_TYPES.values() if node.is_service]


async def test_a_text_is_written(services: Services, providers: Providers) -> None:
    done = await do(
        services, "text_to_text", {"prompt": "Hi", "systemPrompt": "Be short", "temperature": 0.1}
    )

    assert done.output == {
        "text": providers.text,
        "model": "gpt-4o-mini",
        "tokens": len(providers.text),
        "nodeType": "text_to_text",
    }
    said = providers.said("POST /v1/chat/completions")
    assert said.headers["Authorization"] == f"Bearer {OPENAI_KEY}"
    assert said.body == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Be short"},
            {"role": "user", "content": "Hi"},
        ],
        "temperature": 0.7,
    }


async def test_an_empty_prompt_is_the_default(services: Services, providers: Providers) -> None:
    await do(services, "text_to_text", {"prompt": ""})

    messages = providers.said("chat").body["messages"]
    assert messages == [{"role": "user", "content": "Write a short creative story."}]


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("16:9", "landscape_16_9"),
        ("9:16", "portrait_16_9"),
        ("1:1", "square"),
        ("4:3", "square"),
        (None, "landscape_16_9"),
    ],
)
async def test_a_picture_is_drawn_by_fal(
    services: Services, providers: Providers, ratio: str | None, size: str
) -> None:
    done = await do(services, "text_to_image", {"prompt": "A fox", "aspectRatio": ratio})

    assert done.output == {
        "imageUrl": f"{providers.url}/files-of-others/a.png",
        "prompt": "A fox",
        "aspectRatio": ratio or "16:9",
        "nodeType": "text_to_image",
    }
    said = providers.said("POST /queue/fal-ai/z-image/turbo")
    assert said.headers["Authorization"] == f"Key {FAL_KEY}"
    assert said.body == {
        "prompt": "A fox",
        "image_size": size,
        "num_inference_steps": 4,
        "num_images": 1,
    }


@pytest.mark.parametrize(
    ("config", "model"),
    [
        ({"provider": "openai"}, "gpt-image-1-mini"),
        ({"provider": "openai", "model": "fal-ai/z-image/turbo"}, "gpt-image-1-mini"),
        ({"model": "dall-e-3"}, "dall-e-3"),
        ({"model": "openai/gpt-image-1"}, "gpt-image-1"),
    ],
)
async def test_a_picture_is_drawn_by_openai_and_kept_as_a_file(
    services: Services,
    providers: Providers,
    media: MediaFiles,
    config: dict[str, Any],
    model: str,
) -> None:
    done = await do(services, "text_to_image", {"prompt": "A fox", **config})

    assert raw_of(media, done.output["imageUrl"]) == PICTURE
    assert done.output["imageUrl"].endswith(".png")
    body = providers.said("POST /v1/images/generations").body
    assert (body["model"], body["size"], body["n"]) == (model, "1024x1024", 1)
    assert ("response_format" in body) == (model == "dall-e-3")


async def test_s0_03_a_film_is_made_of_the_picture_of_the_node_before(
    services: Services, providers: Providers
) -> None:
    drawn = await do(services, "text_to_image", {"prompt": "A fox"})

    done = await do(
        services, "image_to_video", {"imageUrl": drawn.output["imageUrl"], "duration": "5 seconds"}
    )

    assert done.output == {
        "videoUrl": f"{providers.url}/files-of-others/a.mp4",
        "sourceImage": drawn.output["imageUrl"],
        "duration": 5,
        "nodeType": "image_to_video",
    }
    body = providers.said("POST /queue/fal-ai/ltxv-13b-098-distilled/image-to-video").body
    assert body == {
        "prompt": "gentle animation with subtle movement",
        "num_frames": 120,
        "image_url": drawn.output["imageUrl"],
    }


async def test_a_picture_of_ours_is_sent_as_data(
    services: Services, providers: Providers, media: MediaFiles
) -> None:
    own = await media.put(PICTURE, media_type="image/png")

    done = await do(services, "image_to_video", {"imageUrl": own.url})

    assert done.output["sourceImage"] == own.url
    sent = providers.said("POST /queue").body["image_url"]
    assert sent == f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"


async def test_inline_data_becomes_one_file_however_often_the_queue_is_asked(
    services: Services, media: MediaFiles
) -> None:
    data = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"

    done = await do(services, "image_to_video", {"imageUrl": data})

    assert raw_of(media, done.output["sourceImage"]) == PICTURE
    assert len(list(media._folder.rglob("*.png"))) == 1
    assert all(b"base64" not in (one.output or b"") for one in done.steps)


async def test_a_film_is_made_of_a_text(services: Services, providers: Providers) -> None:
    done = await do(services, "text_to_video", {"prompt": "Rain", "duration": "10 seconds"})

    assert done.output["duration"] == 10
    assert done.output["videoUrl"].endswith("a.mp4")
    assert providers.said("POST /queue/fal-ai/ltxv").body == {"prompt": "Rain", "num_frames": 240}


async def test_music_is_made(services: Services, providers: Providers) -> None:
    done = await do(services, "text_to_music", {"prompt": "Jazz", "duration": 20})

    assert done.output["audioUrl"].endswith("a.wav")
    assert providers.said("POST /run/fal-ai/stable-audio").body == {
        "prompt": "Jazz",
        "seconds_total": 20,
    }


async def test_a_text_is_spoken_by_fal(services: Services, providers: Providers) -> None:
    done = await do(services, "text_to_speech", {"text": "x" * 150})

    assert done.output["audioUrl"].endswith("a.wav")
    assert done.output["text"] == "x" * 100
    assert providers.said("POST /run/fal-ai/playht/tts/v3").body == {
        "input": "x" * 150,
        "voice": "af_bella",
    }


async def test_a_text_that_fal_cannot_speak_is_spoken_by_openai(
    services: Services, providers: Providers, media: MediaFiles
) -> None:
    providers.results["fal-ai/playht/tts/v3"] = {"nothing": True}

    done = await do(services, "text_to_speech", {"text": "Hello"})

    assert raw_of(media, done.output["audioUrl"]) == SOUND
    body = providers.said("POST /v1/audio/speech").body
    assert (body["model"], body["voice"], body["input"]) == ("tts-1", "alloy", "Hello")


@pytest.mark.parametrize(
    ("more", "config"),
    [({}, {"model": "openai/tts-1", "voice": "nova"}), ({"fal_key": ""}, {"voice": "nova"})],
)
async def test_a_text_is_spoken_by_openai_where_that_is_asked_or_there_is_nobody_else(
    media: MediaFiles, providers: Providers, more: dict[str, Any], config: dict[str, Any]
) -> None:
    await do(live(media, providers, **more), "text_to_speech", {"text": "Hello", **config})

    assert providers.said("POST /v1/audio/speech").body["voice"] == "nova"
    assert providers.lines("/run/") == []


@pytest.mark.parametrize("where", ["own", "data", "http"])
async def test_a_picture_is_changed_by_openai(
    services: Services, providers: Providers, media: MediaFiles, where: str
) -> None:
    own = await media.put(PICTURE, media_type="image/png")
    given = {
        "own": own.url,
        "data": f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}",
        "http": f"{providers.url}/a.png",
    }[where]

    done = await do(services, "image_to_image", {"imageUrl": given, "prompt": "Older"})

    assert raw_of(media, done.output["imageUrl"]) == PICTURE
    assert done.output["imageUrl"] != own.url
    fields = providers.said("POST /v1/images/edits").fields
    assert (fields["image"], fields["prompt"]) == (PICTURE, "Older")
    assert fields["model"] == "gpt-image-1-mini"


async def test_a_picture_is_changed_by_fal_where_the_model_is_theirs(
    services: Services, providers: Providers
) -> None:
    config = {
        "imageUrl": f"{providers.url}/a.png",
        "model": "fal-ai/stable-diffusion-v3-medium",
    }

    done = await do(services, "image_to_image", config)

    assert done.output["originalUrl"] == config["imageUrl"]
    path = "POST /queue/fal-ai/stable-diffusion-v3-medium/image-to-image"
    assert providers.said(path).body["image_url"] == config["imageUrl"]


@pytest.mark.parametrize("node", ["image_to_video", "image_to_image"])
@pytest.mark.parametrize("given", [{}, {"imageUrl": ""}, {"imageUrl": None}])
async def test_a_node_that_needs_a_picture_says_so(
    services: Services, node: str, given: dict[str, Any]
) -> None:
    done = await do(services, node, given)

    assert (done.status, done.reason) == ("FAILED_WITH_TERMINAL_ERROR", "No input image provided")


@pytest.mark.parametrize("node", SERVICES)
async def test_s0_15_a_service_does_what_no_provider_can(
    services: Services, providers: Providers, node: str
) -> None:
    config = {"targetImageUrl": "https://x.example/t.png", "faceEnhance": True}

    done = await do(services, node, config, previous=[{"output": {"text": "t"}}])

    assert done.output == {"imageUrl": "https://service.example/a.png", "nodeType": node}
    said = providers.said(f"POST /content/{node.replace('_', '-')}")
    assert said.body == {"config": config, "previousResults": [{"output": {"text": "t"}}]}
    assert "Authorization" not in said.headers


@pytest.mark.parametrize("node", SERVICES)
async def test_s0_15_without_a_service_its_nodes_say_what_to_set(
    media: MediaFiles, providers: Providers, node: str
) -> None:
    done = await do(live(media, providers, content_service_url=""), node, {})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert done.reason == (
        f'Node type "{node}" requires external content service. '
        "Set CONTENT_SERVICE_URL environment variable."
    )


async def test_what_a_service_gives_inline_becomes_a_file(
    services: Services, providers: Providers, media: MediaFiles
) -> None:
    data = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    providers.output = {"output": {"images": [{"url": data}], "count": 1}}

    done = await do(services, "face_swap", {})

    assert raw_of(media, done.output["images"][0]["url"]) == PICTURE
    assert done.output["count"] == 1


async def test_files_are_taken_as_they_are_named(services: Services, media: MediaFiles) -> None:
    data = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    files = [{"name": "A", "url": "https://x.example/a.png"}, {"name": "B", "url": data}, data]

    done = await do(services, "upload_files", {"files": files, "sourceType": "Local"}, PARALLEL)

    first, second, third = done.output["files"]
    assert first == {"id": "file_0", "name": "A", "url": "https://x.example/a.png"}
    assert (second["id"], second["name"], third["id"]) == ("file_1", "B", "file_2")
    assert raw_of(media, second["url"]) == PICTURE
    assert done.output["totalFiles"] == 3


async def test_no_files_are_no_fault(services: Services) -> None:
    done = await do(services, "upload_files", {"sourceType": "Local"})

    assert done.output == {"files": [], "totalFiles": 0, "nodeType": "upload_files"}


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
async def test_s0_11_a_list_of_prompts_is_drawn_one_by_one_or_all_at_once(
    services: Services, providers: Providers, mode: str
) -> None:
    done = await do(services, "text_to_image", {"prompt": ["a", "b", "c"]}, {"mode": mode})

    assert done.output["itemsCount"] == 3
    assert done.output["prompt"] == ["a", "b", "c"]
    assert len(done.output["imageUrl"]) == len(done.output["items"]) == 3
    posts = [index for index, line in enumerate(providers.lines()) if line.startswith("POST")]
    assert len(posts) == 3, "each is submitted once"
    assert (posts == [0, 1, 2]) == (mode == "parallel")


async def test_s0_12_unequal_lists_end_the_task_for_good(services: Services) -> None:
    done = await do(services, "text_to_image", {"prompt": ["a"], "size": ["x", "y"]}, PARALLEL)

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert done.reason == "Array inputs must be the same length"


async def test_with_a_public_address_the_urls_are_whole_and_still_ours(
    media: MediaFiles, providers: Providers
) -> None:
    services = live(media, providers, public_url="https://flows.example/")

    drawn = await do(services, "text_to_image", {"provider": "openai"})
    url = drawn.output["imageUrl"]
    await do(services, "image_to_video", {"imageUrl": url})

    assert url.startswith("https://flows.example/files/")
    assert providers.said("POST /queue").body["image_url"].startswith("data:image/png;base64,")
