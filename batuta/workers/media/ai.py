"""What the operator has said about providers: keys, addresses, and whether to ask any at all."""

import msgspec

from batuta.store.blob.media import MediaFiles
from batuta.workers.system.target import Targets

OPENAI_URL = "https://api.openai.com/v1"
FAL_HOST = "fal.run"


class Ai(msgspec.Struct, frozen=True, kw_only=True):
    """The providers of one server. Its text shows no key.

    ``is_fake``: nobody is asked, and results are made up from what was asked.
    ``fal_run_host``, ``fal_queue_run_host``: as fal's own clients read them, a host; a whole URL
    is taken as it is. ``ffmpeg``: where it is, when it is not found by itself. ``public_url``: how
    others reach this server; with it the URLs of media files are whole.
    """

    is_fake: bool = False
    openai_key: str = ""
    openai_base_url: str = ""
    fal_key: str = ""
    fal_run_host: str = ""
    fal_queue_run_host: str = ""
    content_service_url: str = ""
    ffmpeg: str = ""
    public_url: str = ""

    @property
    def openai_url(self) -> str:
        """The base of OpenAI's API, without a slash at its end."""
        return (self.openai_base_url or OPENAI_URL).rstrip("/")

    @property
    def fal_url(self) -> str:
        """Where fal does a request while we wait."""
        return _base(self.fal_run_host or FAL_HOST)

    @property
    def fal_queue_url(self) -> str:
        """Where fal takes a request to be asked for later."""
        if self.fal_queue_run_host:
            return _base(self.fal_queue_run_host)
        host = self.fal_run_host or FAL_HOST
        return _base(host if "://" in host else f"queue.{host}")

    def __repr__(self) -> str:
        return f"Ai(is_fake={self.is_fake})"


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What the nodes of one server work with; ``media`` None: it has no folder for files."""

    ai: Ai
    media: MediaFiles | None
    targets: Targets
    retry_ms: int = 1_000
    """Before trying again after the first trouble; doubles."""
    ask_ms: int = 2_000
    """Between two questions how far a queued request is."""


def _base(host: str) -> str:
    return (host if "://" in host else f"https://{host}").rstrip("/")
