"""Randomness by key: taking one fault away shifts no other."""

import random
from collections import Counter
from collections.abc import Collection, Mapping

RATES = (0.0, 1.0, 3.0)  # of a kind of fault in one seed: absent, usual, heavy


class Chance:
    """Gives each purpose a stream of its own, all from one seed.

    Args:
        rates: Of kinds of faults whose rate is given and not drawn; ``""`` is for all others.
        factor: On the rates that are drawn.
        muted: What would happen and shall not, as (kind, how many-th of it, from 1).
    """

    def __init__(
        self,
        seed: int,
        rates: Mapping[str, float] | None = None,
        muted: Collection[tuple[str, int]] = frozenset(),
        factor: float = 1.0,
    ) -> None:
        self.seed = seed
        self.happened: Counter[str] = Counter()
        self._muted = muted
        self._given = rates or {}
        self._factor = factor
        self._streams: dict[str, random.Random] = {}
        self._rates: dict[str, float] = {}

    def stream(self, key: str) -> random.Random:
        """Return the stream of a purpose."""
        found = self._streams.get(key)
        if found is None:
            found = self._streams[key] = random.Random(f"{self.seed}/{key}")
        return found

    def rate(self, kind: str) -> float:
        """Return how heavy a kind of fault is in this seed (swarm testing)."""
        found = self._rates.get(kind, self._given.get(kind, self._given.get("")))
        if found is None:
            found = self._rates[kind] = self.stream("swarm/" + kind).choice(RATES) * self._factor
        return found

    def strikes(self, kind: str, usual: float) -> bool:
        """Say whether a fault happens now, ``usual`` being its probability at rate 1."""
        drawn = self.stream(kind).random()
        return drawn < usual * self.rate(kind) and self.happens(kind)

    def happens(self, kind: str) -> bool:
        """Count something that is to happen; say whether it is not muted."""
        self.happened[kind] += 1
        return (kind, self.happened[kind]) not in self._muted

    def seed_bytes(self, key: str) -> bytes:
        """Return 16 bytes for ids."""
        return self.stream(key).getrandbits(128).to_bytes(16, "big")
