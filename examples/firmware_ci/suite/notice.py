"""Telling people: in Slack where SLACK_WEBHOOK_URL is set, and in a file always."""

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from examples.firmware_ci.suite.place import root
from examples.firmware_ci.suite.web import UnreachableError, ask

_log = logging.getLogger(__name__)


def tell(message: str, *, channel: str, **more: Any) -> dict[str, Any]:
    """Send a message; the file `messages.jsonl` below the root has each that was sent.

    Raises:
        UnreachableError: Slack would not take it.
    """
    note = {"at": datetime.now(UTC).isoformat(), "channel": channel, "message": message, **more}
    url = os.environ.get("SLACK_WEBHOOK_URL", "")
    if url and channel == "slack":
        details = "\n".join(f"{key}: {value}" for key, value in more.items() if value)
        status, _ = ask(url, {"text": f"{message}\n{details}".strip()})
        if status >= 300:
            raise UnreachableError(f"Slack answers {status}")
    root().mkdir(parents=True, exist_ok=True)
    with (root() / "messages.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(note, default=str) + "\n")
    _log.info("%s", message)
    return {"sent": True, "channel": channel if url else "file", "message": message}
