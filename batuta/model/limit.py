"""Limits on what workers do at once: how they are said, and the queues that they make.

A task whose definition has a limit waits in a part of its queue: the queue's name, a separator
and the limit's key, which is the definition's name. Workers poll the queue; a claim takes from
its parts what their limits leave room for. Source: semantics.md d.8.
"""

import msgspec

SEPARATOR = "\x1f"  # between a queue and a limit's key; it is kept out of queue names


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks of a key workers may hold at once, and take within a window; 0 = no limit."""

    held_max: int = 0
    taken_max: int = 0
    window_ms: int = 0


class LimitUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a limit is used: tasks in workers' hands, and taken within the window."""

    held: int
    taken: int


def part_name(queue: str, key: str) -> str:
    """Return the name of the part of a queue where tasks with a limit wait."""
    return f"{queue}{SEPARATOR}{key}"


def split_part(name: str) -> tuple[str, str]:
    """Return (queue, limit's key) of a part; the key is "" for a queue itself."""
    queue, _, key = name.partition(SEPARATOR)
    return queue, key
