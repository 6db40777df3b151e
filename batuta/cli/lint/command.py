"""What is judged, by whose knowledge, and with which exit code."""

from collections.abc import Sequence

import click
import msgspec

from batuta.cli.client import Client
from batuta.cli.exit import ExitCode
from batuta.cli.lint.judge import Judged, Known, judge
from batuta.cli.lint.report import gather, is_file, known_by
from batuta.core.definition.warning import Code


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    targets: Sequence[str]
    version: int | None = None
    """Of registered names; None is the latest."""
    ignored: Sequence[str] = ()
    is_strict: bool = False
    is_online: bool = False


def lint_targets(client: Client, wish: Wish, *, is_strict: bool) -> tuple[list[Judged], ExitCode]:
    """Judge what is named.

    Args:
        client: Asked only for registered names, or where the wish is to ask.
        is_strict: The setting; the wish may say so too.

    Returns:
        What was found, and the exit code: 0 when there is nothing to say, 1 for warnings, 7 when
        something would be refused, or the code of what could not be read.
    """
    _check(wish)
    is_online = wish.is_online or not all(map(is_file, wish.targets))
    found, code = gather(wish.targets, client, wish.version)
    known = known_by(client) if is_online else Known()
    ignored = frozenset(word.upper() for word in wish.ignored)
    judged = judge(found, known, is_strict=is_strict or wish.is_strict, ignored=ignored)
    if code is not ExitCode.DONE:
        return judged, code
    if any(one.faults for one in judged):
        return judged, ExitCode.INVALID
    has_warnings = any(one.warnings for one in judged)
    return judged, ExitCode.UNEXPECTED if has_warnings else ExitCode.DONE


def _check(wish: Wish) -> None:
    if not wish.targets:
        raise click.UsageError(
            "Name files, folders, registered workflows, or - for standard input."
        )
    unknown = [word for word in wish.ignored if word.upper() not in Code.__members__]
    if unknown:
        known = ", ".join(Code.__members__)
        raise click.UsageError(f"There is no warning {unknown[0]!r}; the warnings are: {known}")
