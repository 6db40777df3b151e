"""What a seed is made to lean to, and the two ways in which a simulated call can go wrong."""

import msgspec


class Scale(msgspec.Struct, frozen=True):
    """How much happens in a seed. Times are virtual."""

    name: str
    runs_min: int
    runs_max: int
    definitions: int
    workers: int
    safety_s: float  # with faults
    operation_s: float  # at most between two things that people do
    tasks_max: int = 0  # nodes of a definition, about; 0: as many as come
    fault_factor: float = 1.0  # on all rates: what lasts shorter is disturbed more often


LONG = Scale("long", 14, 14, definitions=4, workers=4, safety_s=40.0, operation_s=1.5)
SHORT = Scale(
    "short",
    1,
    3,
    definitions=2,
    workers=2,
    safety_s=8.0,
    operation_s=0.5,
    tasks_max=12,
    fault_factor=3.0,
)
# Many operations at once on few runs: for bugs that only show where commands cross.
BUSY = Scale("busy", 3, 3, definitions=2, workers=3, safety_s=15.0, operation_s=0.1, tasks_max=12)
SCALES = {scale.name: scale for scale in (SHORT, LONG, BUSY)}
LONG_EVERY = 20  # seeds, when both kinds are mixed


def scale_of(seed: int, name: str = "", long_every: int = LONG_EVERY) -> Scale:
    """Return how much happens in a seed; without a name one of ``long_every`` is long."""
    return SCALES[name or ("short" if seed % long_every else "long")]


class Lean(msgspec.Struct, frozen=True):
    """What a seed is made to lean to; nothing, when it draws everything itself."""

    rates: dict[str, float] = {}  # of kinds of faults; "" is for all that are not named
    node_count: int = 0
    crash_at: int = 0  # kill the node when it reaches the store for this many-th time
    scale: str = ""  # of SCALES; "" as the number of the seed has it
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
