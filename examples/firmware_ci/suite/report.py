"""What a worker says of its task beside plain outputs: a failure that has an output too."""

import json
from typing import Any

from batuta.model.execution import TaskStatus
from batuta.workers.outcome import Outcome


def failed(reason: str, output: dict[str, Any]) -> Outcome:
    """End the attempt as FAILED with an output; its definition says whether there is another."""
    return Outcome(
        status=TaskStatus.FAILED, reason=reason[:2_000], output=json.dumps(output).encode()
    )
