"""Reading `.env` files: a `NAME=value` in each line."""

import re
from collections.abc import Iterator
from pathlib import Path

from batuta.model.error import InvalidError

_QUOTED = re.compile(r"""(?P<quote>['"])(?P<value>.*?)(?P=quote)\s*(?:#.*)?""")
_COMMENT = re.compile(r"(?:^|\s)#.*")


def read_env_file(path: Path, *, is_required: bool) -> dict[str, str]:
    """Read the names of a file; the last of two lines with one name counts.

    A leading `export`, quotes around a value and a comment behind it are dropped. A file that was
    not asked for may be another program's: what is no setting in it is left out.

    Raises:
        InvalidError: The file cannot be read, or is required and absent, or a line of a required
            one is no `NAME=value`; names the line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        if is_required:
            raise InvalidError(f"there is no file {str(path)!r} to read settings from") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        if is_required or isinstance(error, PermissionError):
            raise InvalidError(f"file {str(path)!r} cannot be read: {error}") from error
        return {}  # a folder, or no text: nobody's settings
    return dict(_lines(text, path, is_required=is_required))


def _lines(text: str, path: Path, *, is_required: bool) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("export ")
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if equals:
            yield name.strip(), _plain(value.strip())
        elif is_required:
            raise InvalidError(f"file {str(path)!r} line {number} is {line!r}; write NAME=value")


def _plain(value: str) -> str:
    quoted = _QUOTED.fullmatch(value)
    return quoted["value"] if quoted else _COMMENT.sub("", value).rstrip()
