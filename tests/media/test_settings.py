"""The providers' settings: the names that their own clients read, and what becomes of them."""

import pytest

from batuta.app.server import _ai
from batuta.config import load_settings
from batuta.workers.media.ai import Ai, Services
from batuta.workers.media.nodes import NODE_TYPES
from batuta.workers.media.worker import media_functions
from batuta.workers.system.target import targets_of


def test_the_names_of_the_providers_clients_are_read() -> None:
    environment = {
        "OPENAI_API_KEY": "sk-1",
        "OPENAI_BASE_URL": "http://localhost:11434/v1/",
        "FAL_KEY": "k:1",
        "FAL_RUN_HOST": "fal.example",
        "CONTENT_SERVICE_URL": "http://content.example",
        "FFMPEG": "/opt/ffmpeg",
        "BATUTA_PUBLIC_URL": "https://flows.example",
    }

    ai = _ai(load_settings({}, environment).settings)

    assert ai == Ai(
        openai_key="sk-1",
        openai_base_url="http://localhost:11434/v1/",
        fal_key="k:1",
        fal_run_host="fal.example",
        content_service_url="http://content.example",
        ffmpeg="/opt/ffmpeg",
        public_url="https://flows.example",
    )
    assert ai.openai_url == "http://localhost:11434/v1"


@pytest.mark.parametrize(("word", "is_fake"), [("fake", True), ("live", False)])
def test_one_setting_says_whether_anybody_is_asked(word: str, *, is_fake: bool) -> None:
    assert _ai(load_settings({}, {"BATUTA_AI": word}).settings).is_fake == is_fake


@pytest.mark.parametrize(
    ("run", "queue", "urls"),
    [
        ("", "", ("https://fal.run", "https://queue.fal.run")),
        ("fal.example", "", ("https://fal.example", "https://queue.fal.example")),
        ("fal.example", "q.example", ("https://fal.example", "https://q.example")),
        ("http://127.0.0.1:1/a/", "", ("http://127.0.0.1:1/a", "http://127.0.0.1:1/a")),
    ],
)
def test_hosts_of_fal_are_read_as_its_clients_do(
    run: str, queue: str, urls: tuple[str, str]
) -> None:
    ai = Ai(fal_run_host=run, fal_queue_run_host=queue)

    assert (ai.fal_url, ai.fal_queue_url) == urls


def test_the_text_of_the_providers_has_no_key() -> None:
    ai = Ai(openai_key="hunter2", fal_key="hunter2", content_service_url="http://u:hunter2@x")
    services = Services(ai=ai, media=None, targets=targets_of((), is_shared=True))

    assert "hunter2" not in f"{ai!r} {ai} {services!r} {services}"


def test_there_is_a_worker_for_each_node_type() -> None:
    services = Services(ai=Ai(), media=None, targets=targets_of((), is_shared=True))

    functions = media_functions(services, concurrency=3)

    assert [one.task_type for one in functions] == list(NODE_TYPES)
    assert len(NODE_TYPES) == 18
    assert {one.concurrency for one in functions} == {3}
