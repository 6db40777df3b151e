"""Reading definitions and inputs from files and arguments."""

import json
from pathlib import Path
from typing import Any

import pytest

from batuta.cli.file import read_definitions, read_input, read_json
from batuta.model.error import InvalidError, NotFoundError

WORKFLOW = {"name": "w", "tasks": [{"name": "t", "taskReferenceName": "r"}]}
TASK = {"name": "t", "retryCount": 1}


def _write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return path


def test_definitions_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    _write(tmp_path / "a" / "one.json", WORKFLOW)
    _write(tmp_path / "b" / "many.json", [TASK, WORKFLOW | {"name": "v"}])
    _write(tmp_path / "b" / "read-me.txt", "not JSON")

    found = read_definitions([tmp_path])

    assert [item["name"] for item in found.workflows] == ["w", "v"]
    assert found.tasks == [TASK]


def test_other_json_in_a_folder_is_left_out_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path / "input.json", {"topic": "tides"})
    _write(tmp_path / "w.json", WORKFLOW)

    assert len(read_definitions([tmp_path]).workflows) == 1
    assert "input.json" in capsys.readouterr().err


def test_a_file_that_was_named_has_to_hold_definitions(tmp_path: Path) -> None:
    path = _write(tmp_path / "input.json", {"topic": "tides"})

    with pytest.raises(InvalidError, match=r"expected definitions.*tides"):
        read_definitions([path])


def test_a_folder_without_json_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no \.json file"):
        read_definitions([tmp_path])


def test_what_is_not_json_is_named_with_line_and_column(tmp_path: Path) -> None:
    path = _write(tmp_path / "w.json", '{\n  "name": "w",\n  oops\n}')

    with pytest.raises(InvalidError, match=r"w\.json is not JSON, line 3 column 3"):
        read_json(path)


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"\xef\xbb\xbf[1]"])
def test_only_utf_8_is_read_with_or_without_its_mark(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)

    if content.startswith(b"\xff"):
        with pytest.raises(InvalidError, match="not UTF-8 at byte 0"):
            read_json(path)
    else:
        assert read_json(path) == [1]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="is a folder"):
        read_json(tmp_path)
    with pytest.raises(NotFoundError, match="no file"):
        read_json(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["a=1"], {"a": 1}),
        (["a=text", "b=a=b", "c="], {"a": "text", "b": "a=b", "c": ""}),
        (
            ["a=true", "b=null", 'c=[1, "x"]', 'd="1"'],
            {"a": True, "b": None, "c": [1, "x"], "d": "1"},
        ),
        (['{"a": {"b": 1}}', "a=2"], {"a": 2}),
        (["commit=737e3d8"], {"commit": "737e3d8"}),
    ],
)
def test_an_input_is_merged_from_its_arguments(
    arguments: list[str], expected: dict[str, Any]
) -> None:
    assert read_input(arguments) == expected


def test_an_input_may_be_a_file_and_later_arguments_win(tmp_path: Path) -> None:
    path = _write(tmp_path / "input.json", {"a": 1, "b": 2})

    assert read_input([f"@{path}", "b=3"]) == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nothing", "neither key=value"),
        ("=1", "neither key=value"),
        ('{"a": }', "--input is not JSON, line 1 column 7"),
    ],
)
def test_an_input_that_is_none_says_what_it_may_be(argument: str, message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        read_input([argument])


def test_an_input_file_has_to_hold_an_object(tmp_path: Path) -> None:
    path = _write(tmp_path / "input.json", [1])

    with pytest.raises(InvalidError, match="an object is needed"):
        read_input([f"@{path}"])


def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000, "utf-8")

    with pytest.raises(InvalidError, match=r"deep\.json is nested too deeply"):
        read_json(path)
