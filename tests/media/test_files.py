"""Media files: written whole or not at all, found by their names alone, and gone with their run."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from batuta.api import create_app
from batuta.model.error import InvalidError, StoreError
from batuta.runtime.clock import wall_ms
from batuta.store.blob.media import (
    FREE_BYTES_MIN,
    UNFINISHED_AGE_MS,
    UNOWNED_KEEP_MS,
    MediaFile,
    MediaFiles,
    known_type,
    type_of,
)
from tests.api.client import Client
from tests.api.conftest import Settings, open_engine
from tests.media.conftest import BYTES_MAX, RUN

OTHER_RUN = "01890000-0000-7000-8000-00000000002b"
HOSTILE = [
    "",
    ".",
    "..",
    "../x.png",
    "..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "0" * 32,
    "0" * 32 + ".png",
    "0" * 32 + ".png/",
    "0" * 32 + "./png",
    "part",
    "\0.png",
    "G" * 32 + ".png",
    "0" * 32 + ".png\n",
]


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def nobody_gone(_: Sequence[str]) -> set[str]:
    return set()


async def all_gone(workflow_ids: Sequence[str]) -> set[str]:
    return set(workflow_ids)


def path_of(media: MediaFiles, file: MediaFile) -> Path:
    path = media.path(file.name)
    assert path is not None
    return path


def aged(media: MediaFiles, age_ms: int) -> MediaFiles:
    """Return the same files seen later."""
    return MediaFiles(media._folder, wall_ms=lambda: wall_ms() + age_ms)


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_file_is_there_under_a_name_of_ours(media: MediaFiles) -> None:
    file = await media.put(b"\x89PNG", media_type="image/png", workflow_id=RUN)

    assert re.fullmatch(r"[0-9a-f]{32}\.png", file.name)
    assert file.url == f"/files/{file.name}"
    assert (file.size_bytes, file.media_type) == (4, "image/png")
    assert path_of(media, file).read_bytes() == b"\x89PNG"
    assert oct(path_of(media, file).stat().st_mode & 0o777) == "0o600"


async def test_a_file_may_come_in_pieces(media: MediaFiles) -> None:
    file = await media.put(in_pieces(b"a", b"", b"bc"), media_type="audio/x-wav; rate=8000")

    assert path_of(media, file).read_bytes() == b"abc"
    assert (file.size_bytes, file.media_type) == (3, "audio/wav")


async def test_two_files_of_the_same_bytes_have_two_names(media: MediaFiles) -> None:
    first, second = [await media.put(b"x", media_type="image/png") for _ in range(2)]

    assert first.name != second.name


async def test_what_is_too_large_is_refused_and_leaves_nothing(media: MediaFiles) -> None:
    with pytest.raises(InvalidError, match=r"larger than 2,000,000 bytes.*media_bytes_max"):
        await media.put(in_pieces(b"x" * BYTES_MAX, b"x"), media_type="video/mp4")

    assert left(media._folder) == []


async def test_a_source_that_breaks_off_leaves_nothing(media: MediaFiles) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError("gone")

    with pytest.raises(StoreError):
        await media.put(broken(), media_type="video/mp4")

    assert left(media._folder) == []


async def test_a_cancelled_write_leaves_nothing(media: MediaFiles) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"half"
        reached.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(media.put(endless(), media_type="video/mp4"))
    await reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert left(media._folder) == []


async def test_a_disk_that_takes_nothing_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("a file in the way")
    media = MediaFiles(tmp_path / "media", wall_ms=wall_ms)

    with pytest.raises(StoreError, match="cannot be written"):
        await media.put(b"x", media_type="image/png")


async def test_a_disk_that_is_nearly_full_takes_no_more(
    monkeypatch: pytest.MonkeyPatch, media: MediaFiles
) -> None:
    nearly = SimpleNamespace(free=FREE_BYTES_MIN - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: nearly)

    with pytest.raises(StoreError, match=r"the disk has less than 300,000,000 bytes left"):
        await media.put(b"x", media_type="image/png")
    nearly.free += 1

    assert await media.put(b"x", media_type="image/png")


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_name_leads_anywhere_else(media: MediaFiles, name: str) -> None:
    await media.put(b"x", media_type="image/png")

    assert media.path(name) is None


async def test_another_extension_is_another_name(media: MediaFiles) -> None:
    file = await media.put(b"<script>", media_type="text/plain")

    assert media.path(file.name.replace(".txt", ".png")) is None


async def test_a_link_in_the_folder_is_no_file(media: MediaFiles) -> None:
    file = await media.put(b"x", media_type="image/png", workflow_id=RUN)
    path = path_of(media, file)
    path.unlink()
    path.symlink_to("/etc/passwd")

    assert media.path(file.name) is None


async def test_a_sweep_removes_what_belongs_to_runs_that_are_gone(media: MediaFiles) -> None:
    gone = await media.put(b"x", media_type="image/png", workflow_id=RUN)
    kept = await media.put(b"x", media_type="image/png", workflow_id=OTHER_RUN)
    asked: list[str] = []

    async def one_gone(workflow_ids: Sequence[str]) -> set[str]:
        asked.extend(workflow_ids)
        return {RUN}

    assert await media.sweep(all_gone) == (0, True), "it may be of a run that begins just now"
    assert await aged(media, 2 * UNFINISHED_AGE_MS).sweep(one_gone) == (1, True)
    assert asked == [RUN, OTHER_RUN]
    assert media.path(gone.name) is None
    assert media.path(kept.name) is not None


async def test_a_sweep_removes_what_a_crash_left_half_written(media: MediaFiles) -> None:
    file = await media.put(b"x", media_type="image/png", workflow_id=RUN)
    path = path_of(media, file)
    path.rename(path.with_name("part"))

    assert media.path(file.name) is None
    assert await media.sweep(nobody_gone) == (0, True), "somebody may be writing it"
    assert await aged(media, 2 * UNFINISHED_AGE_MS).sweep(nobody_gone) == (1, True)
    assert left(media._folder) == []


async def test_what_belongs_to_no_run_is_kept_for_its_time(media: MediaFiles) -> None:
    file = await media.put(b"x", media_type="image/png")

    assert await aged(media, UNOWNED_KEEP_MS - 60_000).sweep(all_gone) == (0, True)
    assert media.path(file.name) is not None
    assert await aged(media, UNOWNED_KEEP_MS + 60_000).sweep(nobody_gone) == (1, True)


def test_types_have_one_name_each() -> None:
    assert known_type("Image/JPG; q=1") == "image/jpeg"
    assert known_type("image/svg+xml") == "application/octet-stream", "it can hold scripts"
    assert known_type("text/html") == "application/octet-stream"
    assert type_of("https://x/y/clip.MP4") == "video/mp4"
    assert type_of("photo.jpeg") == "image/jpeg"
    assert type_of("x.html") == "application/octet-stream"


async def test_a_picture_is_served_to_be_looked_at(media: MediaFiles) -> None:
    data = os.urandom(700_000)
    file = await media.put(data, media_type="image/png", workflow_id=RUN)
    async with open_engine() as engine:
        engine.media = media
        client = Client(create_app(engine, Settings()))
        answer = await client.call(f"GET {file.url}", headers={"sec-fetch-site": "same-site"})

    assert answer is not None
    assert answer.status == 200
    assert answer.body == data
    assert answer.bodies > 2, "it comes piece by piece"
    headers = answer.headers
    assert headers["content-type"] == "image/png"
    assert headers["content-length"] == "700000"
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert "content-disposition" not in headers


async def test_what_is_no_picture_is_served_to_be_downloaded(media: MediaFiles) -> None:
    file = await media.put(b"<script>alert(1)</script>", media_type="text/html")
    async with open_engine() as engine:
        engine.media = media
        client = Client(create_app(engine, Settings()))
        answer = await client.ask(f"GET {file.url}")

    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"


@pytest.mark.parametrize(
    ("asked", "status", "body", "where"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=0-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("pages=1-2", 200, b"0123456789", None),
    ],
)
async def test_a_player_may_ask_for_a_part(
    media: MediaFiles, asked: str, status: int, body: bytes | None, where: str | None
) -> None:
    file = await media.put(b"0123456789", media_type="video/mp4")
    async with open_engine() as engine:
        engine.media = media
        client = Client(create_app(engine, Settings()))
        answer = await client.call(f"GET {file.url}", headers={"range": asked})

    assert answer is not None
    assert answer.status == status
    assert answer.headers.get("content-range") == where
    assert body is None or answer.body == body


@pytest.mark.parametrize("name", ["x.png", "0" * 32 + ".png", "..%2f..%2fetc%2fpasswd", "%00"])
async def test_a_name_that_is_none_finds_nothing(media: MediaFiles, name: str) -> None:
    async with open_engine() as engine:
        for engine.media in (media, None):
            answer = await Client(create_app(engine, Settings())).ask(f"GET /files/{name}")

            assert answer.status in (400, 404)
