"""A node type of our own for flows: `shout` makes capitals of its text."""

from typing import Any

import batuta


@batuta.task("shout")
def shout(config: dict[str, Any]) -> dict[str, str]:
    """Return the text of the node's config in capitals.

    Raises:
        FatalError: There is no text; trying again would not change that.
    """
    text = config.get("text")
    if not isinstance(text, str) or not text:
        raise batuta.FatalError("shout needs a text")
    return {"text": f"{text.upper()}!", "nodeType": "shout"}
