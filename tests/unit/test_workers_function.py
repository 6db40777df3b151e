"""How a function becomes a worker, gets its input, and what its end says."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

import batuta
from batuta.model.error import InvalidError, NotFoundError
from batuta.model.execution import TaskStatus
from batuta.workers.function import Job, TaskContext, TaskFunction, task_functions
from batuta.workers.module import load_functions
from batuta.workers.outcome import of_error, of_result, refused

JOB = Job(task_id="t1", workflow_id="w1", task_type="greet", retry_count=2)


def _only(function: Any) -> TaskFunction:
    *_, last = task_functions({"function": function})
    return last


def _bound(function: Any, given: dict[str, Any]) -> dict[str, Any]:
    return _only(batuta.task("greet")(function)).bind(given, TaskContext(JOB, given))


def test_a_function_stays_what_it_was() -> None:
    @batuta.task("greet")
    def greet(name: str) -> str:
        return f"hello {name}"

    assert greet("ada") == "hello ada"
    assert _only(greet).task_type == "greet"
    assert not _only(greet).is_async


def test_input_is_bound_by_name_and_what_is_not_asked_for_is_left_out() -> None:
    def greet(name: str, mark: str = "!") -> None: ...

    assert _bound(greet, {"name": "ada", "other": 1}) == {"name": "ada"}
    assert _bound(greet, {"name": "ada", "mark": "?"}) == {"name": "ada", "mark": "?"}


def test_a_null_is_a_value() -> None:
    def greet(name: str, mark: str = "!") -> None: ...

    assert _bound(greet, {"name": None, "mark": None}) == {"name": None, "mark": None}


def test_a_missing_input_is_a_terminal_failure_that_names_it() -> None:
    def greet(name: str, mark: str) -> None: ...

    with pytest.raises(batuta.FatalError, match=r"'mark' is missing.*\['name'\]") as caught:
        _bound(greet, {"name": "ada"})

    assert of_error(caught.value).status is TaskStatus.FAILED_WITH_TERMINAL_ERROR


def test_a_parameter_called_task_or_annotated_so_takes_the_task() -> None:
    def by_name(task) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
    def by_type(me: batuta.TaskContext, name: str) -> None: ...
    def an_input(task: str) -> None: ...

    assert _bound(by_name, {})["task"].task_id == "t1"
    assert _bound(by_type, {"name": "ada"})["me"].retry_count == 2
    assert _bound(an_input, {"task": "sweep"}) == {"task": "sweep"}


def test_rest_takes_what_is_left_over() -> None:
    def greet(name: str, **rest: Any) -> None: ...

    assert _bound(greet, {"name": "ada", "a": 1}) == {"name": "ada", "a": 1}


def test_a_signature_that_no_input_fits_is_refused_when_it_is_written() -> None:
    def greet(name: str, /) -> None: ...

    with pytest.raises(InvalidError, match="'name'"):
        batuta.task("greet")(greet)


@pytest.mark.parametrize("concurrency", [0, -1, 1_001])
def test_concurrency_out_of_bounds_is_refused(concurrency: int) -> None:
    with pytest.raises(InvalidError, match="allowed is 1 to 1,000"):
        batuta.task("greet", concurrency=concurrency)


def test_a_task_function_needs_a_name() -> None:
    with pytest.raises(InvalidError, match="task type"):
        batuta.task("")


@dataclass
class _Point:
    x: int


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        ({}, {}),
        (_Point(3), {"x": 3}),
        ([1, 2], {"result": [1, 2]}),
        ("text", {"result": "text"}),
        ("{", {"result": "{"}),
        (0, {"result": 0}),
        (False, {"result": False}),
        ({1: "a"}, {"1": "a"}),
        (math.inf, {"result": None}),
    ],
)
def test_what_is_returned_becomes_the_output(result: Any, output: dict[str, Any]) -> None:
    outcome = of_result(result)

    assert outcome.status is TaskStatus.COMPLETED
    assert msgspec.json.decode(outcome.output) == output


@pytest.mark.parametrize("result", [object(), {"a": object()}, {(1, 2): 3}, 2 + 3j, "\ud800"])
def test_what_json_cannot_hold_is_a_terminal_failure_that_says_so(result: Any) -> None:
    outcome = of_result(result)

    assert outcome.status is TaskStatus.FAILED_WITH_TERMINAL_ERROR
    assert "JSON cannot hold" in str(outcome.reason)


def test_a_value_that_holds_itself_is_a_terminal_failure() -> None:
    knot: list[Any] = []
    knot.append(knot)

    assert of_result(knot).status is TaskStatus.FAILED_WITH_TERMINAL_ERROR


def test_in_progress_asks_for_the_task_again() -> None:
    outcome = of_result(batuta.InProgress(callback_after_ms=1_500, output={"at": 3}))

    assert outcome.status is TaskStatus.IN_PROGRESS
    assert outcome.callback_after_ms == 1_500
    assert msgspec.json.decode(outcome.output) == {"at": 3}


def test_an_exception_fails_the_attempt_and_its_traceback_is_in_the_log() -> None:
    def look() -> None:
        raise ValueError("no such lamp")

    try:
        look()
    except ValueError as error:
        outcome = of_error(error, ("before",))

    assert outcome.status is TaskStatus.FAILED
    assert outcome.reason == "ValueError: no such lamp"
    assert outcome.logs[0] == "before"
    assert "test_workers_function.py" in outcome.logs[1]


def test_an_endless_reason_is_cut() -> None:
    assert len(str(of_error(ValueError("x" * 9_999)).reason)) == 2_000


def test_a_refused_report_becomes_a_failure_without_its_output() -> None:
    outcome = refused(of_result({"big": 1}), "413 too large")

    assert outcome.status is TaskStatus.FAILED_WITH_TERMINAL_ERROR
    assert outcome.output == b"{}"
    assert "413 too large" in str(outcome.reason)


def test_functions_are_found_by_dotted_name_and_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "import batuta\n@batuta.task('{}')\ndef f(): ...\n"
    (tmp_path / "found_by_name.py").write_text(code.format("one"), "utf-8")
    (tmp_path / "found_by_file.py").write_text(code.format("two"), "utf-8")

    found = load_functions(["found_by_name", str(tmp_path / "found_by_file.py")])

    assert [function.task_type for function in found] == ["one", "two"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "has no task function"),
        ("1 / 0", "ZeroDivisionError"),
        ("import surely_not_installed", "surely_not_installed"),
        ("def (", "SyntaxError"),
        (
            "import batuta\n@batuta.task('a')\ndef f(): ...\n@batuta.task('a')\ndef g(): ...\n",
            "two functions do task 'a'",
        ),
    ],
)
def test_a_module_that_cannot_work_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str, request: Any
) -> None:
    name = f"faulty_{request.node.callspec.indices['code']}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"{name}.py").write_text(code, "utf-8")

    with pytest.raises(InvalidError, match=message):
        load_functions([name])


@pytest.mark.parametrize("name", ["surely_not_there", "surely.not.there", "not_there.py"])
def test_a_module_that_is_not_there_is_not_found(name: str) -> None:
    with pytest.raises(NotFoundError, match="there is no"):
        load_functions([name])


def test_the_package_offers_what_a_worker_needs_and_nothing_else_by_surprise() -> None:
    assert {"task", "FatalError", "InProgress", "TaskContext"} <= set(batuta.__all__)
    with pytest.raises(AttributeError, match="no attribute 'tusk'"):
        _ = batuta.tusk  # type: ignore[attr-defined]
