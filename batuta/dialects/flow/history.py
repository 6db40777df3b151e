"""The flows that have ended, newest first: a view of the engine's runs, never a file of its own.

Found by an index of ended runs by front door; so it costs the same however many others there are.
"""

from typing import Any

from batuta.dialects.flow.callback import NAME as CALLBACK
from batuta.dialects.flow.view import record_of
from batuta.model.error import InvalidError
from batuta.runtime.engine import Engine
from batuta.runtime.search import SearchRequest

RECORDS_MAX = 50
# A longer output is told by its size here; the run's own results have it.
OUTPUT_BYTES_MAX = 64_000
SLICE = 10  # runs read whole at once, so that an answer of long ones is not refused


async def history(engine: Engine, dialect: str) -> list[dict[str, Any]]:
    """Return the records of the runs that ended last, RECORDS_MAX at most."""
    page = await engine.searches.runs(ended(dialect))
    ids = [run.workflow.workflow_id for run in page.items]
    records: dict[str, dict[str, Any]] = {}
    for begin in range(0, len(ids), SLICE):
        records |= await _records(engine, ids[begin : begin + SLICE])
    # One that was re-opened or removed meanwhile is in no history.
    return [records[workflow_id] for workflow_id in ids if workflow_id in records]


def ended(dialect: str) -> SearchRequest:
    """Return the search for the runs that ended last, without tasks and payloads."""
    return SearchRequest(
        query=f"dialect = '{dialect}' AND endTime > 0 AND workflowType != '{CALLBACK}'",
        sort="endTime:DESC|workflowId:DESC",  # ids are in the order of starts
        size=RECORDS_MAX,
        payload_bytes_max=0,
    )


async def _records(engine: Engine, ids: list[str]) -> dict[str, dict[str, Any]]:
    query = f"workflowId IN ({', '.join(ids)})"

    async def found(bytes_max: int) -> dict[str, dict[str, Any]]:
        wish = SearchRequest(query=query, size=SLICE, payload_bytes_max=bytes_max, with_tasks=True)
        page = await engine.searches.runs(wish)
        return {
            run.workflow.workflow_id: record_of(run)
            for run in page.items
            if run.workflow.status.is_terminal
        }

    try:
        return await found(OUTPUT_BYTES_MAX)
    except InvalidError:  # very many long ones
        return await found(0)
