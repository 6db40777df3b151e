"""What becomes of a decided unit: its callers are told, or its commands come back.

Every path ends with ``release``: a run that stayed held would take no command ever again.
"""

import logging
from collections.abc import Callable

from batuta.model.command import ExpireLease
from batuta.model.error import StoreError
from batuta.runtime.commit.batch import Share, Submitted, Unit
from batuta.runtime.commit.cache import Cache
from batuta.runtime.commit.gather import Holds
from batuta.runtime.queues import Queues

_log = logging.getLogger(__name__)


class Concluder:
    """Ends units, one way or another.

    Args:
        is_shared: Whether other nodes write to the store, so that memory may be behind it.
        release: Lets the next commands of a run in.
        on_commit: Told of each share that is durable.
    """

    def __init__(
        self,
        *,
        cache: Cache,
        holds: Holds,
        queues: Queues,
        is_shared: bool,
        release: Callable[[str], None],
        on_commit: Callable[[Share], None],
    ) -> None:
        self._cache = cache
        self._holds = holds
        self._queues = queues
        self._is_shared = is_shared
        self._release = release
        self._on_commit = on_commit

    def is_sure(self, unit: Unit) -> bool:
        """Say whether a unit that writes nothing may be answered from memory.

        No version check stands behind its answer. Memory may be behind a store that others write
        to, and it may lack a lease whose claim had an unknown outcome.
        """
        return all(share.entries or self._is_share_sure(share) for share in unit.shares)

    def _is_share_sure(self, share: Share) -> bool:
        return all(
            submitted.is_sure or not (self._is_shared or isinstance(submitted.command, ExpireLease))
            for submitted in share.commands
        )

    def look_again(self, unit: Unit) -> None:
        """Read the runs of a unit anew and decide its commands on what is stored."""
        for share in unit.shares:
            self._look_again(share)
        unit.dissolve()

    def _look_again(self, share: Share) -> None:
        for submitted in share.commands:
            submitted.is_sure = True
            submitted.error = None
        workflow_id = share.execution.workflow.workflow_id
        if share.is_damaged:
            self._cache.drop(workflow_id)
        else:
            self._cache.set_behind(workflow_id)
        self._holds[workflow_id].first[:0] = share.commands
        self._release(workflow_id)

    def conclude(self, unit: Unit, taken: dict[str, int] | None = None) -> None:
        """Tell the callers of a unit that is durable, or that had nothing to write.

        ``taken`` is how many tasks of each queue the claims of the same commit were given. As many
        of those it has put there leave the queue no fuller than it was: nobody is told of them,
        and so a step that is claimed in its own commit has no other poller look in vain.
        What is durable stays so: a bug on the way to a caller is logged, and the run comes free.
        A run of the unit that nothing was written to has had no version check, whatever the
        others had: one that a Send was meant for and that a command came to afterwards.
        """
        for share in unit.shares:
            if not (share.entries or self._is_share_sure(share)):
                self._look_again(share)
                continue
            try:
                self._tell(share, taken or {})
            except Exception as error:  # noqa: BLE001  as said
                _log.exception("telling the callers of a committed run failed")
                self._cache.drop(share.execution.workflow.workflow_id)
                for submitted in share.commands:
                    submitted.refuse(error)
            finally:
                self._release(share.execution.workflow.workflow_id)
        unit.dissolve()

    def _tell(self, share: Share, taken: dict[str, int]) -> None:
        if share.is_damaged:
            self._cache.drop(share.execution.workflow.workflow_id)
            for queue in dict.fromkeys(enqueue.queue for enqueue in share.enqueued.values()):
                self._queues.hint(queue)
        elif share.entries:
            self._cache.put(share.execution)
            self._on_commit(share)
            for enqueue in share.enqueued.values():
                if taken.get(enqueue.queue):
                    taken[enqueue.queue] -= 1
                else:
                    self._queues.hint(enqueue.queue)
            for key in share.freed:
                self._queues.hint_limit(key)
        for submitted in share.commands:
            submitted.resolve(share.execution)

    def find_again(self, unit: Unit) -> None:
        """Have what is stored of a unit looked up, since an earlier try of it may be that.

        That one was decided at another time, so memory is not what is stored. What came behind it
        and wrote nothing is decided again on what is.
        """
        unit.note_unknown()
        for share in unit.shares:
            for queue in dict.fromkeys(enqueue.queue for enqueue in share.enqueued.values()):
                self._queues.hint(queue)
        self.decide_again(unit)

    def decide_again(self, unit: Unit) -> None:
        """Forget what memory knows of a refused unit and put its commands back in order."""
        for share in unit.shares:
            workflow_id = share.execution.workflow.workflow_id
            self._cache.drop(workflow_id)
            again: list[Submitted] = []
            for submitted in share.commands:
                submitted.attempts += 1
                submitted.error = None
                submitted.answers.clear()
                submitted.needs_rounds = 0  # of each decision: those before it lacked the same
                if submitted.is_worn_out and not submitted.versions_unknown:
                    submitted.refuse_at_last()
                else:
                    again.append(submitted)
            hold = self._holds[workflow_id]
            hold.first[:0] = again
            self._release(workflow_id)
        unit.dissolve()

    def give_up(self, unit: Unit, error: Exception) -> None:
        """Refuse a unit's commands: the store would not take them."""
        for share in unit.shares:
            self.give_up_share(share, error)

    def give_up_share(self, share: Share, error: Exception) -> None:
        """Refuse the commands of one run and let it go."""
        self._cache.drop(share.execution.workflow.workflow_id)
        for submitted in share.commands:
            submitted.refuse(StoreError(f"the command could not be stored: {error}"))
        self._release(share.execution.workflow.workflow_id)
