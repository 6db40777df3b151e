"""What the counting workers do, without a word about where they run."""

import re
from pathlib import Path
from typing import Any

FILES_MAX = 1_000  # the fork takes 20,000; a folder with more than this was named by mistake
WORD = re.compile(r"[^\W\d_]+")


def list_files(folder: str) -> list[str]:
    """Give the files of a folder and of those inside, in the order of their names.

    Raises:
        ValueError: There is no such folder, or it has none or too many.
    """
    found = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
    if not 1 <= len(found) <= FILES_MAX:
        raise ValueError(f"folder {folder!r} has {len(found)} files, not 1 to {FILES_MAX:,}")
    return found


def count(file: str) -> dict[str, Any]:
    """Count the words of a file.

    Raises:
        UnicodeDecodeError: It is not a text.
    """
    words = WORD.findall(Path(file).read_text("utf-8").lower())
    return {"file": file, "words": len(words), "longest": _longest(words)}


def merge(texts: list[dict[str, Any]], counts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Put the counts together; a file that has none could not be read."""
    done = [found for found in counts.values() if "words" in found]
    read = {found["file"] for found in done}
    return {
        "files": len(done),
        "words": sum(found["words"] for found in done),
        "longest": _longest([found["longest"] for found in done]),
        "unreadable": [text["file"] for text in texts if text["file"] not in read],
    }


def _longest(words: list[str]) -> str:
    return max(words, key=lambda word: (len(word), word), default="")
