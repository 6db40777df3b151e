"""The workers that count words: list, count each, merge.

batuta worker examples.fan_out.workers
"""

import os
import time
from typing import Any

import batuta
from examples.fan_out import texts as files


@batuta.task("list_texts")
def list_texts(folder: str) -> dict[str, Any]:
    """Say what there is to count: the fork makes a task of each."""
    try:
        return {"texts": [{"file": file} for file in files.list_files(folder)]}
    except ValueError as error:
        raise batuta.FatalError(str(error)) from error


@batuta.task("count_words", concurrency=4)
def count_words(file: str) -> dict[str, Any]:
    """Count one file; what is no text will be none the next time."""
    time.sleep(_pace_s())
    try:
        return files.count(file)
    except UnicodeDecodeError as error:
        raise batuta.FatalError(f"{file} is no text") from error


@batuta.task("merge_counts")
def merge_counts(texts: list[dict[str, Any]], counts: dict[str, Any]) -> dict[str, Any]:
    """Add up what the branches gave."""
    return files.merge(texts, counts)


def _pace_s() -> float:
    return float(os.environ.get("FAN_OUT_PACE", "0.1"))
