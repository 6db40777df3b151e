"""Search over what is in memory: every record is looked at."""

from collections.abc import Iterator

from batuta.model.payload import Payload
from batuta.store.memory.rows import Run, State
from batuta.store.query.tree import FoundTask


def all_tasks(state: State) -> Iterator[FoundTask]:
    """Give every task that is not retired, as search shows it."""
    for run in state.runs.values():
        for row in run.tasks.values():
            if row.is_retired:
                continue
            held = state.held.get(row.task.task_id)
            yield FoundTask(
                workflow=run.workflow,
                task=row.task,
                lease=held.lease if held else None,
                input=_size(run, row.task.seq, "input"),
                output=_size(run, row.task.seq, "output"),
            )


def _size(run: Run, seq: int, part: str) -> Payload | None:
    raw = run.payloads.get((seq, part))
    return None if raw is None else Payload(None, len(raw))
