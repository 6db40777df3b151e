"""A service of the operator's own, for the nodes that no provider here can do."""

from collections.abc import Mapping, Sequence
from typing import Any

from batuta.workers.media.ai import Services
from batuta.workers.media.call import NodeError
from batuta.workers.media.provider.ask import PICTURE_BYTES_MAX, Target, ask
from batuta.workers.media.source import is_data, stored

SERVICE_S = 900.0  # for a whole answer: an avatar may take a quarter of an hour
DEPTH_MAX = 20  # of what is searched for inline data


async def ask_service(
    services: Services,
    node: str,
    config: Mapping[str, Any],
    previous: Sequence[Any],
    *,
    workflow_id: str = "",
) -> dict[str, Any]:
    """Have the service do a node; return its output, with inline data made media files.

    Raises:
        NodeError: There is no service, or it refuses. TroubleError: It may pass.
    """
    url = services.ai.content_service_url.rstrip("/")
    if not url:
        raise NodeError(
            f'Node type "{node}" requires external content service. '
            "Set CONTENT_SERVICE_URL environment variable."
        )
    target = Target(name="the content service", url=url)
    body = {"config": config, "previousResults": list(previous)}
    answer = await ask(
        target,
        "POST",
        f"/{node.replace('_', '-')}",
        body=body,
        wait_s=SERVICE_S,
        bytes_max=PICTURE_BYTES_MAX,
    )
    output = answer.get("output", answer) if isinstance(answer, dict) else answer
    found = await _stored(services, output, workflow_id)
    return found if isinstance(found, dict) else {"result": found}


async def _stored(services: Services, value: Any, workflow_id: str, depth: int = 0) -> Any:
    if isinstance(value, str) and is_data(value):
        return await stored(services, value, workflow_id=workflow_id)
    if depth > DEPTH_MAX or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return [await _stored(services, one, workflow_id, depth + 1) for one in value]
    return {key: await _stored(services, one, workflow_id, depth + 1) for key, one in value.items()}
