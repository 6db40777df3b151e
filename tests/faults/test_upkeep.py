"""A database that no server has is examined without being changed, and put aside whole."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batuta.model.error import NotFoundError, StoreError
from batuta.store.sqlite.check.rules import RULES
from batuta.store.sqlite.scan import FAULTS_MAX, scan
from batuta.store.sqlite.upkeep import examine, set_aside
from tests.engine.definitions import chain
from tests.engine.node import Clock, running, sqlite_opener

# Damage that only a bug of ours could do, by the rule that finds it.
DAMAGES = {
    "DELETE FROM queue": "a worker's live task is queued, leased or delayed",
    "DELETE FROM task": "a RUNNING run has a live task, a timer or a Send",
    "DELETE FROM journal WHERE version = 1": "a run has one journal row for each version",
    "UPDATE workflow SET status = 'COMPLETED'": "an ended run has no live task",
    "UPDATE task SET version = 99": "a task was last written by a version of its run",
}


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Give a database with one run that waits for a worker."""
    clock, path = Clock(), tmp_path / "batuta.db"
    async with running(sqlite_opener(path, clock), clock) as node:
        await node.register(chain("one", 1))
        await node.start("one")
    return path


def test_a_sound_database_is_told_with_its_schema_and_not_changed(path: Path) -> None:
    before = path.read_bytes()

    found = examine(path)

    assert found.faults == []
    assert found.schema == found.schema_newest
    assert found.run_count == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_by_its_rule(path: Path, damage: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()

    faults = examine(path).faults

    assert DAMAGES[damage] in RULES
    assert faults
    assert any(fault.startswith(DAMAGES[damage]) for fault in faults), faults


def test_a_header_that_the_journal_does_not_give_is_found(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        [[document]] = connection.execute("SELECT doc FROM workflow")
        changed = document.replace('"one"', '"two"')
        assert changed != document
        connection.execute("UPDATE workflow SET doc = ?", (changed,))
        connection.commit()

    assert any("gives another header" in fault for fault in scan(path))


def test_a_scan_ends_after_so_many_faults(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO payload (workflow_id, seq, part, data) VALUES (x'00', ?, 'i', x'7b7d')",
            [(number,) for number in range(FAULTS_MAX + 10)],
        )
        connection.commit()

    assert len(scan(path)) == FAULTS_MAX


def test_what_is_no_database_of_ours_is_said(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    text = tmp_path / "text.db"
    text.write_text("no database at all, " * 100, "utf-8")

    with pytest.raises(StoreError, match="another program"):
        examine(other)
    with pytest.raises(StoreError, match="cannot be read"):
        examine(text)
    with pytest.raises(NotFoundError, match="absent"):
        examine(tmp_path / "absent.db")
    assert not (tmp_path / "absent.db.lock").exists()


async def test_a_database_in_use_is_left_alone(path: Path) -> None:
    clock = Clock()
    async with running(sqlite_opener(path, clock), clock):
        found = examine(path)
        assert f"process {os.getpid()}" in found.held
        assert found.faults is None
        with pytest.raises(StoreError, match="in use by another batuta server"):
            set_aside(path, path.parent / "aside")

    assert examine(path).faults == []


async def test_a_database_that_was_put_aside_is_whole(path: Path) -> None:
    aside = path.parent / "aside"

    moved = set_aside(path, aside)

    assert moved == [aside / path.name]
    with pytest.raises(NotFoundError):
        examine(path)
    assert examine(moved[0]).run_count == 1
    clock = Clock()
    async with running(sqlite_opener(path, clock), clock) as node:
        await node.register(chain("one", 1))
    assert examine(path).run_count == 0


def test_the_large_payloads_of_a_database_are_put_aside_with_it(path: Path) -> None:
    blob = path.with_name(f"{path.name}-blobs") / "ab" / "file"
    blob.parent.mkdir(parents=True)
    blob.write_text("payload")
    aside = path.parent / "aside"

    moved = set_aside(path, aside)

    assert moved == [aside / path.name, aside / f"{path.name}-blobs"]
    assert (moved[1] / "ab" / "file").read_text() == "payload"
    assert not blob.exists()


def test_a_log_that_a_killed_server_left_is_put_aside_with_its_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE kept (x)")
        log = path.with_name(f"{path.name}-wal")
        whole, behind = path.read_bytes(), log.read_bytes()
    path.write_bytes(whole)
    log.write_bytes(behind)

    [moved] = set_aside(path, path.parent / "aside")

    assert not log.exists()
    with closing(sqlite3.connect(moved)) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
