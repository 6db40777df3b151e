"""Ids that are a function of a seed: version 7 UUIDs, in order of time."""

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62
_RANDOM_62 = (1 << 62) - 1
_COUNT_12 = (1 << 12) - 1


def uuid7(now_ms: int, seed: int, number: int) -> str:
    """Return id ``number`` of the decision with this ``seed`` (128 random bits).

    48 bits of time, 12 of the number, 62 of seed and number: the ids of one decision differ
    and sort by number; those of two decisions in the same ms differ by their seeds.
    """
    low = (seed + (number >> 12)) & _RANDOM_62
    text = f"{now_ms << 80 | _VERSION_7 | (number & _COUNT_12) << 64 | _VARIANT | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
