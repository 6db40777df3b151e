"""How a setting says what it means, beside its type and default."""

from typing import Any

from msgspec import Meta

SERVE, WORKER, CLIENT, DATA = "serve", "worker", "commands that ask a server", "its data"


def says(
    text: str, also: tuple[str, ...] = (), of: tuple[str, ...] = (SERVE,), **limits: Any
) -> Meta:
    """Describe a setting.

    Args:
        also: Environment names of other programs that mean it too.
        of: What reads it.
        limits: Of its value, as `msgspec.Meta` takes them.
    """
    return Meta(description=text, extra={"also": also, "of": of}, **limits)
