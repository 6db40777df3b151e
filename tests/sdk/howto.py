"""The programs of docs/howto/connect-a-conductor-sdk.md, as its reader types them."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "connect-a-conductor-sdk.md"
# A block of indented lines that imports something; blank lines inside belong to it.
_PROGRAM = re.compile(r"(?m)^    (?:from|import) .*\n(?:(?:    .*)?\n)*?(?=\S)")
_NAME = re.compile(r"as `([\w.]+)`")
_PROMISE = re.compile(r"prints `([^`]+)`")


def section(heading: str) -> str:
    """Give the part of the page under a heading."""
    return PAGE.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def programs(heading: str) -> dict[str, str]:
    """Give the programs under a heading, by the file names that the page gives them."""
    text = section(heading)
    found = {}
    for match in _PROGRAM.finditer(text):
        file_name = _NAME.findall(text[: match.start()])[-1]
        found[file_name] = re.sub(r"(?m)^    ", "", match.group()).rstrip() + "\n"
    return found


def promise(heading: str) -> str:
    """Give the last line that the page says is printed."""
    found = _PROMISE.search(section(heading))
    assert found is not None, f"{PAGE.name} says under {heading} what is printed"
    return found.group(1)
