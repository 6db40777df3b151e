"""Write batches, on the thread that owns the writing connection."""

from collections.abc import Sequence
from typing import Any, NoReturn

import apsw
import msgspec

from batuta.model.error import StoreError
from batuta.model.execution import Lease
from batuta.store.base import Accepted, Batch, Claim, Committed, Stale, Taken, Touch, Verdict
from batuta.store.merge import Tables, merge
from batuta.store.sqlite.limit.room import claim_rows, is_limited
from batuta.store.sqlite.statements import PICKED, TOUCHED
from batuta.store.sqlite.trigger import CHECK, COLUMNS, REFUSED, WRITE

Parameters = tuple[int | bytes | None, ...]  # of WRITE: by position as in COLUMNS

_CLAIMS, _METERED = COLUMNS.index("claims"), COLUMNS.index("metered")
_NEVER_MS = -1  # no lease was polled then

# Errors that come from what is written. Any other (disk full, locked) hits all rows alike.
_OF_THE_ROWS = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.SQLError,
    apsw.TooBigError,
)

_IS_GONE = "SELECT NOT EXISTS (SELECT 1 FROM workflow WHERE id = unhex(:id, '-'))"
_FORGET_SENDS = "DELETE FROM send WHERE workflow_id = unhex(:id, '-')"

_encode = msgspec.json.Encoder().encode
_PICKED: msgspec.json.Decoder[list[tuple[int, Lease]]] = msgspec.json.Decoder(
    list[tuple[int, Lease]]
)
_INDEXES: msgspec.json.Decoder[set[int]] = msgspec.json.Decoder(set[int])


def parameters(batch: Batch, tables: Tables) -> Parameters:
    """Return what WRITE takes: a JSON array for each table that has rows, and the blob."""
    timers = tables.timers
    is_set = [(*key, due_at_ms) for key, due_at_ms in timers.items() if due_at_ms is not None]
    rows_by_column: tuple[Sequence[Any], ...] = (
        tables.versions,
        tables.releases,
        tables.drops,
        tables.in_place,
        tables.reserves,
        tables.workflows,
        tables.bumps,
        tables.tasks,
        tables.larges,
        tables.retired,
        list(tables.queued.values()),
        list(tables.leases.values()),
        is_set,
        [key for key, due_at_ms in timers.items() if due_at_ms is None] if timers else (),
        tables.sends,
        tables.logs,
        tables.removed,
        tables.entries,
        _touch_rows(batch.touches, batch.now_ms) if batch.touches else (),
        _claim_rows(batch.claims) if batch.claims else (),
        (),  # metered: known when the claims under limits are, at the time of writing
    )
    arrays = [_encode(rows) if rows else None for rows in rows_by_column]
    return (batch.now_ms, *arrays, b"".join(tables.blobs))


def _touch_rows(
    touches: Sequence[Touch], now_ms: int
) -> list[tuple[int, str, int, bool, int | None]]:
    """Say which lease each touch means; a poll's time of None is not compared.

    SQL reads the leases as they were before all touches; one renewed by an earlier touch was
    polled now.
    """
    rows = []
    renewed: set[tuple[str, int]] = set()
    for index, touch in enumerate(touches):
        lease, polled_at_ms = (touch.task_id, touch.poll_count), None
        if not touch.is_given_back:
            renewed.add(lease)
        elif lease not in renewed:
            polled_at_ms = touch.polled_at_ms
        elif touch.polled_at_ms != now_ms:
            polled_at_ms = _NEVER_MS
        rows.append((index, *lease, touch.is_given_back, polled_at_ms))
    return rows


def _claim_rows(claims: Sequence[Claim]) -> list[tuple[int, str, int, int, str | None]]:
    """Say which places of its queue fall to each claim: the first claims get the first ones."""
    asked: dict[str, int] = {}
    rows = []
    for index, claim in enumerate(claims):
        before = asked.get(claim.queue, 0)
        asked[claim.queue] = last = before + claim.count
        rows.append((index, claim.queue, before + 1, last, claim.worker_id))
    return rows


class Writer:
    """Writes batches and counts what it did. Used by one thread; others may read the counts."""

    def __init__(self) -> None:
        self.batches = 0
        self.commits = 0
        self.statements = 0
        self.refusals = 0
        # Written to read an answer from, and deleted by the next batch that has one.
        self.temporary_rows = 0

    def write(self, connection: apsw.Connection, batch: Batch, written: Parameters) -> Committed:
        """Write a batch in one transaction and return once it is synced.

        Raises:
            StoreError: It, or one of its decisions, could not be written. Where a decision was
                the reason, the others are written; ``settled`` tells which.
        """
        if is_limited(batch.claims):
            written = self._under_limits(connection, batch, written)
        try:
            verdicts = self._write_decisions(connection, batch, written)
        except _OF_THE_ROWS as error:
            self._write_halves(connection, batch, error)
        self.commits += 1
        self.batches += 1
        claimed: list[list[Lease]] = [[] for _ in batch.claims]
        touched: list[bool] = []
        if batch.touches:
            self.statements += 1
            text = connection.execute(TOUCHED).get
            self.temporary_rows += 2 * len(batch.touches)
            touched = _touched(batch.touches, _INDEXES.decode(str(text)))
        if batch.claims:
            self.statements += 1
            text = connection.execute(PICKED).get
            for index, lease in _PICKED.decode(str(text)) if text else ():
                claimed[index].append(lease)
                self.temporary_rows += 2
        return Committed(verdicts=verdicts, claimed=claimed, touched=touched)

    def _under_limits(
        self, connection: apsw.Connection, batch: Batch, written: Parameters
    ) -> Parameters:
        """Put in what the claims may take; nobody else writes between this and the batch."""
        self.statements += 1
        claims, metered = claim_rows(connection, batch.claims, batch.now_ms)
        changed = dict(zip(COLUMNS, written, strict=True)) | {"claims": claims, "metered": metered}
        return tuple(changed.values())

    def _write_decisions(
        self, connection: apsw.Connection, batch: Batch, written: Parameters
    ) -> list[Verdict]:
        try:
            self.statements += 1
            connection.execute(WRITE, written)
        except apsw.ConstraintError as error:
            if str(error) != REFUSED:
                raise
            self.refusals += 1
            return self._write_accepted(connection, batch, written)
        return [Accepted()] * len(batch.decisions)

    def _write_accepted(
        self, connection: apsw.Connection, batch: Batch, written: Parameters
    ) -> list[Verdict]:
        """Find out which decisions are refused and write the others, in one transaction."""
        verdicts: list[Verdict] = [Accepted()] * len(batch.decisions)
        refused: set[int] = set()
        connection.execute("BEGIN IMMEDIATE")
        try:
            while rows := self._check(connection, written):
                for d, verdict in _judge(rows).items():
                    verdicts[d] = verdict
                    refused.add(d)
                written = _with_rows_of(parameters(batch, merge(batch, refused)), written)
            connection.execute(WRITE, written)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.statements += 3
        return verdicts

    def _check(self, connection: apsw.Connection, written: Parameters) -> list[tuple[Any, ...]]:
        self.statements += 1
        named = dict(zip(COLUMNS, written, strict=True))
        return connection.execute(CHECK, named).fetchall()

    def _write_halves(
        self, connection: apsw.Connection, batch: Batch, error: apsw.Error
    ) -> NoReturn:
        """Write the decisions that can be written, then raise for those that cannot.

        Claims and touches are left out: their callers ask again.
        """
        decisions = batch.decisions
        if len(decisions) <= 1:
            ids = [run.workflow_id for decision in decisions for run in decision.runs]
            raise StoreError(f"sqlite: cannot write {ids}: {error}") from error
        middle = len(decisions) // 2
        failures: list[StoreError] = []
        for half in (decisions[:middle], decisions[middle:]):
            part = Batch(now_ms=batch.now_ms, decisions=half)
            try:
                self.write(connection, part, parameters(part, merge(part)))
            except StoreError as failure:
                failures.append(failure)
        told = "; ".join(failure.message for failure in failures)
        raise StoreError(told or f"sqlite: {error}; written in two halves") from error


def _with_rows_of(fresh: Parameters, before: Parameters) -> Parameters:
    """Return fresh parameters with the claims of those before: what was counted stays counted."""
    kept = {"claims": before[_CLAIMS], "metered": before[_METERED]}
    return tuple((dict(zip(COLUMNS, fresh, strict=True)) | kept).values())


def _judge(rows: Sequence[tuple[Any, ...]]) -> dict[int, Verdict]:
    """Return verdicts by decision for one round of refusals.

    A rival is refused by another decision of its batch, which may be refused itself. So rivals
    count only when nothing else does, and only the first: the next round sees the rest.
    """
    verdicts: dict[int, Verdict] = {}
    for kind, d, holder in rows:
        if kind == "stale" or (kind == "taken" and d not in verdicts):
            verdicts[d] = Stale() if kind == "stale" else Taken(holder)
    if not verdicts:
        _, d, holder = min(rows, key=lambda row: row[1])
        verdicts[d] = Taken(holder) if holder else Stale()
    return verdicts


def forget_sends(connection: apsw.Connection, workflow_id: str) -> bool:
    """Delete the Sends for a run that is not there; False, and no change, when it is."""
    is_gone = bool(connection.execute(_IS_GONE, {"id": workflow_id}).get)
    if is_gone:  # and stays so: only this thread writes
        connection.execute(_FORGET_SENDS, {"id": workflow_id})
    return is_gone


def _touched(touches: Sequence[Touch], found: set[int]) -> list[bool]:
    answers = []
    given_back: set[tuple[str, int]] = set()
    for index, touch in enumerate(touches):
        lease = (touch.task_id, touch.poll_count)
        is_done = index in found and lease not in given_back
        answers.append(is_done)
        if is_done and touch.is_given_back:
            given_back.add(lease)
    return answers
