"""Goes through the list, and says what it finds as it goes."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from batuta.cli.checklist.host import look
from batuta.cli.checklist.item import AbsentError, CheckError, Item, Result, read_items
from batuta.cli.checklist.report import counts, document, result_line, summary_lines, write_report
from batuta.cli.exit import ExitCode
from batuta.cli.show.style import Style
from batuta.cli.verify.check import find
from batuta.cli.verify.plant.bench import Bench
from batuta.model.error import BatutaError, NotFoundError

BY_HAND = frozenset({"hardware", "external", "org"})


def verify_firmware(report: Path | None, only: Sequence[str], *, is_json: bool) -> ExitCode:
    """Check every item, or those of ``only``.

    Returns:
        0, or 1 when an item failed.

    Raises:
        NotFoundError: ``only`` names none, or this is no clone of the repository.
    """
    items = [item for item in read_items() if not only or _is_wanted(item, only)]
    if not items:
        raise NotFoundError(f"the list has no item {', '.join(only)}")
    style = Style()
    with tempfile.TemporaryDirectory(prefix="batuta-verify-") as home:
        results = _go_through(items, Path(home), style, is_quiet=is_json)
    if report is not None:
        write_report(report, results)
    if is_json:
        print(json.dumps(document(results), indent=2))
    else:
        print()
        for line in summary_lines(results, style):
            print(line)
    return ExitCode.UNEXPECTED if counts(results)["failed"] else ExitCode.DONE


def _is_wanted(item: Item, only: Sequence[str]) -> bool:
    return any(item.id == one or item.id.startswith(f"{one.rstrip('.')}.") for one in only)


def _go_through(items: Sequence[Item], home: Path, style: Style, *, is_quiet: bool) -> list[Result]:
    results = []
    bench: Bench | None = None
    try:
        for item in items:
            if item.kind in BY_HAND:
                result = Result(item=item, state="by hand", text="")
            elif item.kind == "host":
                result = look(item)
            else:
                if bench is None:
                    bench = Bench(home)
                    _open(bench)
                result = check(item, bench)
            results.append(result)
            if not is_quiet:
                print(result_line(result, style))
                sys.stdout.flush()
    finally:
        if bench is not None:
            bench.close()
    return results


def _open(bench: Bench) -> None:
    try:
        bench.open()
    except CheckError as error:
        raise BatutaError(
            f"nothing can be checked, since the plant does not start: {error}"
        ) from error


def check(item: Item, bench: Bench) -> Result:
    """Try one item; whatever goes wrong in it is its failure, and the next one is tried."""
    try:
        return Result(item=item, state="passed", text=find(item.check)(bench, item.of))
    except AbsentError as error:
        return Result(item=item, state="absent", text=str(error))
    except CheckError as error:
        return Result(item=item, state="failed", text=str(error))
    except BatutaError as error:
        return Result(item=item, state="failed", text=error.message)
    except (OSError, LookupError, ValueError, TypeError) as error:
        # an answer of another shape than it must have: what the item says does not hold
        return Result(item=item, state="failed", text=f"{type(error).__name__}: {error}")
