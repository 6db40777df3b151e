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
        self._taken: defaultdict[str, list[int]] = defaultdict(list)  # times, by definition

    def after(self, taken: Iterable[str], now_ms: int) -> None:
        """Check the definitions of which a commit has given tasks into hands.

        Args:
            taken: The queue of each task that was given, with its part.
        """
        names = [name for queue in taken if (name := split_part(queue)[1])]
        for name in names:
            self._taken[name].append(now_ms)
        for name in dict.fromkeys(names):
            held_max, taken_max, window_ms = self._limit(name)
            leases = [held.lease for held in self._state.held.values()]
            mine = [lease for lease in leases if split_part(lease.queue)[1] == name]
            if held_max and len(mine) > held_max:
                why = f"{len(mine)} tasks of {name!r} are in hands, {held_max} may be"
                self._fail("I33", why, mine[-1].workflow_id)
            lately = [at_ms for at_ms in self._taken[name] if at_ms > now_ms - window_ms]
            if taken_max and len(lately) > taken_max:
                why = f"{len(lately)} tasks of {name!r} were taken within {window_ms} ms"
                self._fail("I33", f"{why}, {taken_max} may be", mine[-1].workflow_id)

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
