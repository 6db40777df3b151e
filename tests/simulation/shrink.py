"""A failing seed made small: fewer faults, operations, runs and tasks that still break the promise.

What is taken away shifts no other draw of the same seed, because each purpose has a stream of its
own. A smaller plan counts when some promise breaks with it: the same bug is often seen by another
invariant first, once less happens before it.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec.structs import replace

from batuta.model.error import BatutaError
from tests.simulation.run import Outcome, simulate
from tests.simulation.world.plan import Lean

TRIES_MAX = 150  # simulations that shrinking may take
RUNS = (1, 2, 4, 7)

T = TypeVar("T")


class Shrunk:
    """A seed with the smallest lean found, and what it gives."""

    def __init__(self, seed: int, lean: Lean, outcome: Outcome, tries_max: int) -> None:
        assert outcome.violation is not None, "a seed that breaks nothing cannot be shrunk"
        self.seed = seed
        self.lean = lean
        self.outcome = outcome
        self.tries = 0
        self._tries_max = tries_max

    def attempt(self, lean: Lean) -> bool:
        """Keep a smaller lean if a promise breaks with it too."""
        if self.tries >= self._tries_max:
            return False
        self.tries += 1
        try:
            outcome = simulate(self.seed, lean)
        except BatutaError:
            return False  # a definition that is not one any more
        if outcome.violation is None:
            return False
        self.lean, self.outcome = lean, outcome
        return True


def shrink(
    seed: int,
    lean: Lean = Lean(),  # noqa: B008  frozen
    *,
    tries_max: int = TRIES_MAX,
) -> Shrunk:
    """Return a failing seed with everything taken away that it does not need."""
    found = Shrunk(seed, lean, simulate(seed, lean), tries_max)
    if found.attempt(replace(lean, rates={"": 0.0})):
        pass  # it needs no fault at all
    else:
        for kind in sorted(found.outcome.faults):
            rates = {**found.lean.rates, kind: 0.0}
            found.attempt(replace(found.lean, rates=rates))
    for count in RUNS:
        if found.attempt(replace(found.lean, runs=count)):
            break
    if found.attempt(replace(found.lean, node_count=1)):
        pass
    happened = [
        (kind, number)
        for kind, count in sorted(found.outcome.happened.items())
        for number in range(1, count + 1)
    ]
    _without(
        happened, lambda some: found.attempt(replace(found.lean, muted=found.lean.muted | some))
    )
    _without(
        sorted(found.outcome.references),
        lambda some: found.attempt(replace(found.lean, dropped=found.lean.dropped | some)),
    )
    return found


def _without(things: list[T], attempt: Callable[[frozenset[T]], bool]) -> None:
    """Take things away, half of them at first, then ever smaller parts (ddmin)."""
    size = len(things)
    while size > 0:
        size = (size + 1) // 2 if size > 1 else 0
        if size == 0:
            return
        kept: list[T] = []
        for part in _parts(things, size):
            if not attempt(frozenset(part)):
                kept += part
        things = kept
        if size == 1:
            return


def _parts(things: list[T], size: int) -> Iterable[list[T]]:
    return [things[first : first + size] for first in range(0, len(things), size)]
