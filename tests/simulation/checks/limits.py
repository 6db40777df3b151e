"""I33: no more tasks of a limited kind in workers' hands, or taken in a while, than it says."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec

from batuta.model.limit import split_part
from batuta.runtime.definitions import TASK_DEF
from batuta.store.memory.rows import State

SECOND_MS = 1_000


class Limits:
    """Counts anew what task definitions limit, from the leases that commits make.

    Args:
        fail: Called with (invariant, why, run id).
    """

    def __init__(self, state: State, fail: Callable[[str, str, str], None]) -> None:
        self._state = state
        self._fail = fail
        self._said: dict[str, tuple[int, int, int]] = {}  # by definition: held, taken, window
        # By definition: the time of each batch, and how far store time was when it committed. A
        # batch that the disk holds up counts by the one or by the other.
        self._taken: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)

    def after(self, taken: Iterable[str], now_ms: int) -> None:
        """Check the definitions of which a commit has given tasks into hands.

        Args:
            taken: The queue of each task that was given, with its part.
        """
        names = [name for queue in taken if (name := split_part(queue)[1])]
        for name in names:
            self._taken[name].append((now_ms, self._state.committed_at_ms))
        for name in dict.fromkeys(names):
            held_max, taken_max, window_ms = self._limit(name)
            leases = [held.lease for held in self._state.held.values()]
            mine = [lease for lease in leases if split_part(lease.queue)[1] == name]
            if held_max and len(mine) > held_max:
                why = f"{len(mine)} tasks of {name!r} are in hands, {held_max} may be"
                self._fail("I33", why, mine[-1].workflow_id)
            count = min(self._count(name, place, window_ms) for place in (0, 1))
            if taken_max and count > taken_max:
                why = f"{count} tasks of {name!r} were taken within {window_ms} ms"
                self._fail("I33", f"{why}, {taken_max} may be", mine[-1].workflow_id)

    def _count(self, name: str, place: int, window_ms: int) -> int:
        """Return how many were taken within the window that ends with the last one."""
        times = [one[place] for one in self._taken[name]]
        return sum(times[-1] - window_ms < at_ms <= times[-1] for at_ms in times)

    def _limit(self, name: str) -> tuple[int, int, int]:
        """Return what a definition says; they are registered once."""
        if name not in self._said:
            bodies = [
                document.body
                for (kind, found, _), document in self._state.documents.items()
                if (kind, found) == (TASK_DEF, name)
            ]
            said = msgspec.json.decode(bodies[0]) if bodies else {}
            self._said[name] = (
                said.get("concurrentExecLimit") or 0,
                said.get("rateLimitPerFrequency") or 0,
                (said.get("rateLimitFrequencyInSeconds") or 1) * SECOND_MS,
            )
        return self._said[name]
