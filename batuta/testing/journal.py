"""Read a whole journal, and fold it into the headers it tells of."""

from collections.abc import Iterable

from batuta.core.journal import fold
from batuta.model.execution import Task, Workflow
from batuta.store.base import Journal, JournalRow

PAGE_ROWS = 100  # small enough that tests turn pages


async def read_all(journal: Journal, workflow_id: str | None = None) -> list[JournalRow]:
    """Return every row, read page by page as a sink does."""
    rows: list[JournalRow] = []
    while True:
        position = rows[-1].position if rows else 0
        page = await journal.read_after(position, limit=PAGE_ROWS, workflow_id=workflow_id)
        if not page:
            return rows
        rows += page


def fold_journal(rows: Iterable[JournalRow]) -> tuple[Workflow | None, dict[int, Task]]:
    """Return the headers of one run after its rows: what a load of that version gives."""
    return fold((row.entry.version, row.entry.at_ms, row.entry.changed) for row in rows)
