"""A page of the tutorial as a newcomer reads it: what is typed, what is promised, what is quoted.

A block of indented lines that begins with a command is typed, up to its first blank line. What
follows, there or in other blocks, is either what the command prints, with `...` for what differs
from time to time, or a quotation from the examples' files.
"""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

BLOCK = re.compile(r"(?:^    .*\n|^\n(?=    ))+", re.MULTILINE)
TYPED = re.compile(r"(?:(?:batuta|cat|cp|curl|export|kill|mkdir|printf|python|source) |[A-Z]+=)")
EXIT_CODE = re.compile(r"exit\scode (\d+)")
SUFFIXES = {".json", ".py"}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is typed at once, and what the page says about it."""

    typed: str
    code: int
    """The exit code, 0 unless the text around says another."""
    shown: tuple[str, ...]
    """The blocks that follow, up to the next command."""


def read_steps(text: str) -> list[Step]:
    """Read the steps of a page, in their order."""
    found: list[tuple[str, str, list[str]]] = []
    matches = list(BLOCK.finditer(text))
    ends = [match.start() for match in matches[1:]] + [len(text)]
    for match, end in zip(matches, ends, strict=True):
        block = re.sub(r"^    ", "", match.group(), flags=re.MULTILINE).strip("\n")
        after = text[match.end() : end]
        if TYPED.match(block):
            typed, _, printed = block.partition("\n\n")
            found.append((typed, after, [printed] if printed else []))
        elif found:
            found[-1][2].append(block)
    return [
        Step(typed=typed, code=_code(after), shown=tuple(shown)) for typed, after, shown in found
    ]


def _code(text: str) -> int:
    said = EXIT_CODE.search(text)
    return int(said[1]) if said else 0


def is_printed(block: str, printed: str) -> bool:
    """Say whether a block is what was printed; `...` stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in block.strip().split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def is_quoted(block: str, folder: Path) -> bool:
    """Say whether a block stands in a file of a folder, however deep it is indented there."""
    wanted = "\n".join(line.strip() for line in block.splitlines())
    return any(
        wanted in "\n".join(line.strip() for line in path.read_text("utf-8").splitlines())
        for path in sorted(folder.rglob("*"))
        if path.suffix in SUFFIXES
    )


class Shell:
    """A terminal: a bash that remembers its variables and its jobs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def type(self, line: str) -> tuple[int, str]:
        """Run a line, or several; give the last exit code and all that was printed."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f'{line}\necho "@@ended $?"\n')
        process.stdin.flush()
        printed = []
        for said in process.stdout:
            before, marker, code = said.partition("@@ended ")
            printed.append(before)
            if marker:
                return int(code), "".join(printed)
        raise AssertionError(f"the shell ended in {line!r}: {''.join(printed)}")


@contextlib.contextmanager
def open_shell(folder: Path, environment: dict[str, str]) -> Iterator[Shell]:
    """Open a terminal in a folder; jobs that are left are waited for at its end."""
    with subprocess.Popen(
        ["bash"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        shell = Shell(process)
        shell.type("set -m")  # as in a terminal: a job has a group of its own, and takes Ctrl-C
        try:
            yield shell
            shell.type("wait")
        finally:
            shell.type("kill -KILL $(jobs -p) 2>/dev/null")
            assert process.stdin is not None
            process.stdin.close()
