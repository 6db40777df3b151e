"""Large payloads in files: every store keeps its contract, and no file is lost or left."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batuta.app import blob_folder
from batuta.config import Settings
from batuta.model.change import RemoveWorkflow
from batuta.model.error import StoreError
from batuta.model.execution import WorkflowStatus
from batuta.model.payload import Payload
from batuta.runtime.clock import wall_ms
from batuta.store.base import Batch, Committed
from batuta.store.blob import BlobStore, Folder, with_blobs
from batuta.store.blob.store import ORPHAN_AGE_MS, SWEEP_FILES
from batuta.store.keep import Ended
from batuta.store.memory import MemoryStore
from batuta.store.postgres import PostgresStore
from batuta.store.query.parse import parse_query, parse_sort
from batuta.store.query.tree import Subject as Of
from batuta.store.sqlite import SqliteStore
from batuta.testing import builders
from batuta.testing.builders import NOW_MS, put_task, put_workflow, same_json, step, task
from batuta.testing.cases.payload import PayloadCases
from batuta.testing.cases.run import RunCases
from batuta.testing.cases.search import SearchCases
from batuta.testing.cases.subject import a_run, accept, loaded
from batuta.testing.keep import KeepCases
from batuta.testing.store import StoreSuite, Subject

BYTES_MIN = 20_000  # beyond what the stores keep inline, so that they answer alike
LARGE = Payload(b'{"text":"' + b"x" * 50_000 + b'"}')
OTHER = Payload(b'{"text":"' + b"y" * 50_000 + b'"}')


class Time:
    """The clock of the file system, which a test may move on."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def wall_ms(self) -> int:
        """Return the time."""
        return wall_ms() + self.ahead_ms


def wrapped(inner: Subject, folder: Path, time: Time | None = None) -> Subject:
    """Return a store with its large payloads in files."""
    clock = time or Time()
    return with_blobs(inner, Folder(folder), blob_bytes_min=BYTES_MIN, wall_ms=clock.wall_ms)


def files(folder: Path, name: str = "") -> list[Path]:
    """Return all files below a folder, or whatever has a name."""
    found = folder.rglob(name or "*")
    return sorted(path for path in found if name or path.is_file())


class ConcernedCases(RunCases, PayloadCases, SearchCases, KeepCases):
    """The cases that what large payloads are may break; memory runs all of them."""

    pytestmark = pytest.mark.asyncio


class TestBlobsOnMemory(StoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> Subject:
        return wrapped(MemoryStore(lambda: NOW_MS), tmp_path)


class TestBlobsOnSqlite(ConcernedCases):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Subject]:
        inner = await SqliteStore.open(str(tmp_path / "batuta.db"), now_wall_ms=lambda: NOW_MS)
        yield wrapped(inner, tmp_path / "blobs")
        await inner.close()


@pytest.mark.postgres
class TestBlobsOnPostgres(ConcernedCases):
    @pytest.fixture
    async def store(self, tmp_path: Path, postgres_url: str) -> AsyncIterator[Subject]:
        inner = await PostgresStore.open(postgres_url)
        yield wrapped(inner, tmp_path)
        await inner.close()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def inner(tmp_path: Path) -> AsyncIterator[Subject]:
    inner = await SqliteStore.open(str(tmp_path / "batuta.db"), now_wall_ms=lambda: NOW_MS)
    yield inner
    await inner.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def store(inner: Subject, folder: Path, time: Time) -> Subject:
    return wrapped(inner, folder, time)


async def swept(store: Subject) -> int:
    """Sweep everything; return how many files were removed."""
    assert isinstance(store, BlobStore)
    removed = 0
    while True:
        slice_ = await store.sweep()
        removed += slice_.removed
        if slice_.is_last:
            return removed


async def test_a_large_payload_is_a_file_and_the_database_has_its_name(
    store: Subject, inner: Subject, folder: Path
) -> None:
    header = await a_run(store, put_task(task(1), input=Payload.of("small"), output=LARGE))

    [path] = files(folder)
    assert path.read_bytes() == LARGE.raw
    [kept] = await inner.fetch([(header.workflow_id, 1, "output")])
    assert kept.size_bytes < 100
    [found] = await store.fetch([(header.workflow_id, 1, "output")])
    assert found.raw == LARGE.raw
    assert path.stat().st_mode & 0o077 == 0, "nobody else reads it"


async def test_a_payload_of_a_file_is_read_again_after_a_restart(
    store: Subject, inner: Subject, folder: Path
) -> None:
    header = await a_run(store, put_task(task(1), output=LARGE))

    again = wrapped(inner, folder)

    [(_, _, result)] = (await loaded(again, header.workflow_id)).tasks
    assert result is not None
    assert (result.raw, result.size_bytes) == (None, LARGE.size_bytes)
    [found] = await again.fetch([(header.workflow_id, 1, "output")])
    assert found.raw == LARGE.raw


async def test_a_search_tells_the_size_of_the_payload_and_not_of_its_name(
    store: Subject,
) -> None:
    await a_run(store, put_task(task(1), input=Payload.of("small"), output=LARGE))

    query = parse_query("", Of.TASK, free_text=None)
    page = await store.search_tasks(query, sort=parse_sort(None, Of.TASK), start=0, size=10)

    [found] = page.items
    assert found.output is not None
    assert found.output.size_bytes == LARGE.size_bytes
    assert found.input is not None
    assert found.input.size_bytes == len('"small"')


async def test_a_refused_decision_leaves_no_file(store: Subject, folder: Path) -> None:
    header = await a_run(store)

    late = step(header.workflow_id, 7, put_task(task(1), output=LARGE))
    await store.commit(builders.batch(late))

    assert files(folder) == []


async def test_the_files_of_a_removed_run_go_with_it(store: Subject, folder: Path) -> None:
    header = await a_run(store, put_task(task(1), output=LARGE))
    other = await a_run(store, put_task(task(1), output=LARGE))

    await accept(store, step(header.workflow_id, 1, RemoveWorkflow(header.workflow_id)))

    assert [path.parent.name for path in files(folder)] == [other.workflow_id]
    assert await swept(store) == 0


async def test_the_files_of_a_purged_run_go_with_it(store: Subject, folder: Path) -> None:
    header = builders.workflow(status=WorkflowStatus.COMPLETED, ended_at_ms=NOW_MS)
    put = put_workflow(header, None, input=LARGE)
    await accept(store, step(header.workflow_id, 0, put, put_task(task(1), output=LARGE)))
    assert len(files(folder)) == 2

    await store.purge([Ended(header.workflow_id, 1)], now_ms=NOW_MS, rows_max=10)

    assert files(folder) == []


async def test_a_replaced_payload_is_swept_and_the_new_one_stays(
    store: Subject, folder: Path, time: Time
) -> None:
    first = task(1)
    header = await a_run(store, put_task(first, output=LARGE))
    await accept(store, step(header.workflow_id, 1, put_task(first, first, output=OTHER)))
    assert len(files(folder)) == 2
    assert await swept(store) == 0, "both are young"

    time.ahead_ms = ORPHAN_AGE_MS + 60_000

    assert await swept(store) == 1
    assert [path.read_bytes() for path in files(folder)] == [OTHER.raw]
    [found] = await store.fetch([(header.workflow_id, 1, "output")])
    assert same_json(found, OTHER)


async def test_a_retired_task_keeps_its_file_until_it_is_purged(
    store: Subject, folder: Path, time: Time
) -> None:
    first = task(1)
    header = await a_run(store, put_task(first, output=LARGE))
    await accept(store, step(header.workflow_id, 1, builders.retire(first)))
    time.ahead_ms = ORPHAN_AGE_MS + 60_000
    assert await swept(store) == 0

    await store.purge_retired(before_ms=NOW_MS + 1, rows_max=10)

    assert await swept(store) == 1
    assert files(folder, header.workflow_id) == [], "its folder has gone too"


async def test_a_sweep_goes_on_slice_by_slice(
    store: Subject, inner: Subject, folder: Path, time: Time
) -> None:
    puts = [put_task(task(seq), output=LARGE) for seq in range(1, SWEEP_FILES + 2)]
    header = await a_run(store, *puts)
    await accept(inner, step(header.workflow_id, 1, RemoveWorkflow(header.workflow_id)))
    time.ahead_ms = ORPHAN_AGE_MS + 60_000
    assert isinstance(store, BlobStore)

    first, second = await store.sweep(), await store.sweep()

    assert (first.looked_at, first.removed, first.is_last) == (SWEEP_FILES, SWEEP_FILES, False)
    assert (second.looked_at, second.removed, second.is_last) == (1, 1, True)
    assert files(folder) == []


async def test_a_file_that_a_commit_in_flight_names_is_never_swept(
    folder: Path, time: Time
) -> None:
    removed: list[int] = []

    async def sweep_now(point: str) -> None:
        if point == "commit.before":
            time.ahead_ms = ORPHAN_AGE_MS + 60_000
            removed.append(await swept(store))

    store = wrapped(MemoryStore(lambda: NOW_MS, pause=sweep_now), folder, time)

    header = await a_run(store, put_task(task(1), output=LARGE))

    assert removed == [0]
    [found] = await store.fetch([(header.workflow_id, 1, "output")])
    assert same_json(found, LARGE)


async def test_nothing_is_committed_when_the_file_cannot_be_written(
    inner: Subject, tmp_path: Path
) -> None:
    (tmp_path / "blobs").write_text("a file where the folder should be")
    store = wrapped(inner, tmp_path / "blobs")
    header = builders.workflow()

    with pytest.raises(StoreError, match="a large payload cannot be written"):
        await accept(store, builders.start(header, put_task(task(1), output=LARGE)))

    assert await inner.load([(header.workflow_id, 0)]) == {}


async def test_a_file_that_is_gone_is_an_error_that_names_the_payload(
    store: Subject, folder: Path
) -> None:
    header = await a_run(store, put_task(task(1), output=LARGE))
    [path] = files(folder)
    path.unlink()

    with pytest.raises(StoreError, match=f"'output' of seq 1 of '{header.workflow_id}' is gone"):
        await store.fetch([(header.workflow_id, 1, "output")])


async def test_a_payload_replaced_while_it_is_read_comes_as_it_is_now(
    inner: Subject, folder: Path
) -> None:
    class Replacing:
        """Has the payload replaced, and its file removed, after each first look at it."""

        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

        async def fetch(self, wanted: list[tuple[str, int, str]]) -> list[Payload]:
            found = await inner.fetch(wanted)
            [path] = files(folder)
            await accept(store, step(header.workflow_id, 1, put_task(first, first, output=OTHER)))
            path.unlink()
            return found

        async def commit(self, batch: Batch) -> Committed:
            return await inner.commit(batch)

    first = task(1)
    store = wrapped(inner, folder)
    header = await a_run(store, put_task(first, output=LARGE))

    reading = wrapped(Replacing(), folder)  # type: ignore[arg-type]  of which two are asked

    [found] = await reading.fetch([(header.workflow_id, 1, "output")])
    assert same_json(found, OTHER)


async def test_what_is_no_file_of_ours_is_left_alone(
    store: Subject, folder: Path, time: Time
) -> None:
    header = await a_run(store, put_task(task(1), output=LARGE))
    [path] = files(folder)
    strange = [
        folder / "notes.txt",
        path.parent / "notes.txt",
        path.parent.parent / "no run" / path.name,
        folder / "uploads" / "x",
    ]
    for one in strange:
        one.parent.mkdir(exist_ok=True)
        one.write_text("mine")
    (path.parent / f"2-output-{'0' * 32}").symlink_to(folder / "notes.txt")
    time.ahead_ms = ORPHAN_AGE_MS + 60_000

    assert await swept(store) == 1, "the link"

    assert all(one.exists() for one in strange)
    assert len(await store.fetch([(header.workflow_id, 1, "output")])) == 1


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        (Settings(db="/data/runs.db"), Path("/data/runs.db-blobs")),
        (Settings(db="/data/runs.db", blob_folder="/blobs"), Path("/blobs")),
        (Settings(db="postgresql://somewhere/runs"), None),
        (Settings(db="postgresql://somewhere/runs", blob_folder="/shared"), Path("/shared")),
    ],
)
def test_files_are_beside_a_sqlite_database_and_where_it_is_said(
    settings: Settings, folder: Path | None
) -> None:
    assert blob_folder(settings) == folder
