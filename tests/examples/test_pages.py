"""The tutorial's pages, typed line by line beside `make run`, end as they say."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from batuta.cli.client import Client
from batuta.model.error import NotFoundError
from tests.cli.live import process, wait_until
from tests.examples.page import is_printed, is_quoted, open_shell, read_steps
from tests.examples.stage import EXAMPLES, ROOT, environment_of, places

TUTORIAL = ROOT / "docs" / "tutorial"
PATH = [
    "first-run.md",
    "first-workflow.md",
    "order-saga.md",
    "approval.md",
    "fan-out.md",
    "loop-and-switch.md",
    "http-and-jq.md",
    "../howto/why-is-my-run-not-moving.md",
]
NEXT = re.compile(r"^Next: .*\[[^]]+]\(([^)]+)\)", re.MULTILINE)
PAGES = PATH[2:7]  # the others have tests of their own
LIVE = {"SCHEDULED", "IN_PROGRESS"}
WAITS = {"HUMAN", "WAIT", "JOIN", "DO_WHILE"}  # what may stay open while nobody types
RUNS_MAX = 100


class Desk:
    """`make run` in one terminal, as the pages ask for."""

    def __init__(self, api: str, service: str, home: Path) -> None:
        self.api = api
        self.service = service
        self.home = home
        self.client = Client(api)
        self.settings = environment_of(api, home)

    def here(self, text: str) -> str:
        """Put the addresses and the folder of this desk in the place of those on the page."""
        text = text.replace("http://127.0.0.1:8080/api", self.api)
        text = text.replace("http://127.0.0.1:8099", self.service)
        return text.replace(".batuta/", f"{self.home}/")

    def is_quiet(self) -> bool:
        """Say whether all is done that a person would see done before typing on."""
        rows = self.client.get(f"/workflow/search?size={RUNS_MAX}")["results"]
        return all(self._is_done(row["workflowId"]) for row in rows)

    def _is_done(self, workflow_id: str) -> bool:
        try:
            run = self.client.get(f"/workflow/{workflow_id}?includeTasks=true")
        except NotFoundError:  # a failure workflow whose start is still under way
            return False
        if run["status"] == "RUNNING":
            live = {task["taskType"] for task in run["tasks"] if task["status"] in LIVE}
            return bool(live) and live <= WAITS
        handler = run["output"].get("conductor.failure_workflow")
        return handler is None or self._is_done(handler)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    home = tmp_path_factory.mktemp("desk")
    options = ("demo", "--port", "18580", "--db", str(home / "demo.db"))
    with process(*options, **places(home), FIRMWARE_CI_HOME=str(home), FIRMWARE_CI_PACE="0") as run:
        service = run.wait_for(r"^service +(http://\S+),")[1]
        desk = Desk(run.wait_for(r"^API +(http://\S+)")[1], service, home)
        yield desk
        desk.client.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_typed_as_it_stands_ends_as_it_says(desk: Desk, name: str) -> None:
    steps = read_steps((TUTORIAL / name).read_text("utf-8"))

    with open_shell(ROOT, desk.settings) as shell:
        for step in steps:
            code, printed = shell.type(desk.here(step.typed))
            assert code == step.code, f"{step.typed}\n{printed}"
            for block in step.shown:
                is_known = is_printed(desk.here(block), printed) or is_quoted(block, EXAMPLES)
                assert is_known, f"neither printed nor quoted:\n{block}\nprinted:\n{printed}"
            wait_until(desk.is_quiet)
    assert sum(bool(step.shown) for step in steps) >= 2, "a page shows what its commands print"


@pytest.mark.parametrize(("name", "following"), list(itertools.pairwise(PATH)))
def test_the_tutorial_is_one_path(name: str, following: str) -> None:
    link = NEXT.search((TUTORIAL / name).read_text("utf-8"))

    assert link is not None, f"{name} leads nowhere; end it with Next:"
    assert link[1] == following


def test_each_example_has_its_page() -> None:
    pages = "\n".join((TUTORIAL / name).read_text("utf-8") for name in PATH)

    for folder in sorted(path.parent for path in EXAMPLES.glob("*/definitions")):
        names = [path.stem for path in (folder / "definitions").glob("*.json")]
        assert any(f"batuta run {name} " in pages for name in names), folder.name


def test_the_run_that_never_moves_is_explained_as_the_page_says(desk: Desk) -> None:
    text = (TUTORIAL / PATH[-1]).read_text("utf-8")
    lonely = re.search(r"`lonely.json`:\n\n    (.+)\n", text)
    step, asked = read_steps(text)[:2]
    assert lonely is not None
    (desk.home / "lonely.json").write_text(lonely[1], "utf-8")

    with open_shell(desk.home, desk.settings) as shell:
        code, printed = shell.type(desk.here(step.typed))
        _, answer = shell.type(desk.here(asked.typed))
        shell.type("batuta workflow terminate $RUN --yes")

    assert code == 0, printed
    assert is_printed(step.shown[0], printed), printed
    assert '"NEVER_POLLED"' in answer


def test_a_page_that_promises_what_is_not_printed_is_caught() -> None:
    assert is_printed("a ... c", "a b c\n")
    assert not is_printed("a ... d", "a b c\n")
    assert is_quoted('"joinOn": ["answered"]', EXAMPLES)
    assert not is_quoted('"joinOn": ["nobody"]', EXAMPLES)


def test_the_steps_of_a_page_are_read_with_their_exit_codes() -> None:
    text = (
        "One\n\n    batuta a\n\n    x\n\n    y\n\nand\n\n    batuta b\n\nends with exit code 10.\n"
    )

    steps = read_steps(text)

    assert [(step.typed, step.code, step.shown) for step in steps] == [
        ("batuta a", 0, ("x\n\ny",)),
        ("batuta b", 10, ()),
    ]
