"""Which ready tasks fall to which claim, where some of them wait for room under a limit."""

from collections.abc import Callable, Mapping, Sequence

from batuta.model.limit import Limit, LimitUse, split_part
from batuta.store.base import Claim

Place = tuple[int, int, str | bytes]  # rank, time, task id: the order of hand-out


def limits_of(claims: Sequence[Claim]) -> dict[str, Limit]:
    """Return the limits that claims have to keep, by key."""
    return {
        split_part(part.queue)[1]: part.limit
        for claim in claims
        for part in claim.parts
        if part.limit is not None
    }


def asked(claims: Sequence[Claim]) -> dict[str, int]:
    """Return how many tasks of each queue and part could be handed out at most."""
    counts: dict[str, int] = {}
    for claim in claims:
        for name in (claim.queue, *(part.queue for part in claim.parts)):
            counts[name] = counts.get(name, 0) + claim.count
    return counts


def room(limit: Limit, use: LimitUse) -> int | None:
    """Return how many more tasks a limit lets out now; None: it is none."""
    left = []
    if limit.held_max > 0:
        left.append(limit.held_max - use.held)
    if limit.taken_max > 0:
        left.append(limit.taken_max - use.taken)
    return max(min(left), 0) if left else None


def allot(
    claims: Sequence[Claim],
    heads: Mapping[str, Sequence[Place]],
    use_of: Callable[[str, Limit], LimitUse],
) -> list[dict[str, int]]:
    """Return for each claim how many tasks it takes from the head of each queue and part.

    First come, first served among claims; the most urgent first among tasks that have room.

    Args:
        heads: The ready tasks of each queue and part, in order; no more than ``asked`` says.
        use_of: How much of a limit is used now, by its key.
    """
    rooms = {key: room(limit, use_of(key, limit)) for key, limit in limits_of(claims).items()}
    offsets = dict.fromkeys(heads, 0)
    return [_one(claim, heads, offsets, rooms) for claim in claims]


def _one(
    claim: Claim,
    heads: Mapping[str, Sequence[Place]],
    offsets: dict[str, int],
    rooms: dict[str, int | None],
) -> dict[str, int]:
    names = [claim.queue, *(part.queue for part in claim.parts)]
    taken: dict[str, int] = {}
    for _ in range(claim.count):
        best: tuple[Place, str] | None = None
        for name in names:
            head, offset = heads.get(name, ()), offsets.get(name, 0)
            if offset >= len(head) or rooms.get(split_part(name)[1]) == 0:
                continue
            if best is None or head[offset] < best[0]:
                best = (head[offset], name)
        if best is None:
            break
        name = best[1]
        offsets[name] += 1
        taken[name] = taken.get(name, 0) + 1
        left = rooms.get(split_part(name)[1])
        if left is not None:
            rooms[split_part(name)[1]] = left - 1
    return taken
