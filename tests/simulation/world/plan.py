"""What a seed is made to lean to, and the two ways in which a simulated call can go wrong."""

import msgspec


class Lean(msgspec.Struct, frozen=True):
    """What a seed is made to lean to; nothing, when it draws everything itself."""

    rates: dict[str, float] = {}  # of kinds of faults; "" is for all that are not named
    node_count: int = 0
    crash_at: int = 0  # kill the node when it reaches the store for this many-th time
    runs: int = 0  # 0: as many as usual
    shape: str = ""  # of the definitions: "" any, "plain" only what the reference covers
    # What shrinking has taken away: faults and operations as (kind, how many-th), and tasks of
    # definitions by their reference names.
    muted: frozenset[tuple[str, int]] = frozenset()
    dropped: frozenset[str] = frozenset()


class BrokenError(AssertionError):
    """A promise that was broken: which, how, of which run."""

    def __init__(self, invariant: str, why: str, run: str) -> None:
        super().__init__(f"{invariant}: {why}" + (f" [{run}]" if run else ""))
        self.invariant = invariant
        self.run = run


class GoneError(Exception):
    """The connection broke: nobody knows whether the call was done."""
