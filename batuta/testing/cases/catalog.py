"""The catalogue: named, versioned documents, and snapshots by content hash."""

from msgspec.structs import replace

from batuta.store.base import Document
from batuta.testing.builders import NOW_MS
from batuta.testing.cases.subject import Subject

KIND = "workflow_def"


def document(name: str = "pipeline", version: int = 1, **fields: object) -> Document:
    """Return a document whose body names its version."""
    body = b'{"version":%d}' % version
    defaults = {"body": body, "created_at_ms": NOW_MS, "updated_at_ms": NOW_MS}
    values: dict[str, object] = {**defaults, "kind": KIND, **fields}
    return Document(name=name, version=version, **values)  # type: ignore[arg-type]


class CatalogCases:
    """Documents and snapshots."""

    async def test_a_document_comes_back_as_it_was_put(self, store: Subject) -> None:
        one = document(
            "é 'x' %_",
            version=2**31,
            body='{"a":"é\\n","n":1.0}'.encode(),
            owner="somebody",
            updated_at_ms=NOW_MS + 1,
        )

        assert await store.put_documents([one], overwrite=False) == [True]

        assert await store.get_document(KIND, one.name, one.version) == one

    async def test_version_0_is_the_highest(self, store: Subject) -> None:
        versions = [2, 10, 9, 1]
        await store.put_documents([document(version=one) for one in versions], overwrite=False)
        await store.put_documents([document("other", version=99)], overwrite=False)

        assert await store.get_document(KIND, "pipeline") == document(version=10)
        assert await store.get_document(KIND, "pipeline", 9) == document(version=9)
        assert await store.get_document(KIND, "pipeline", 3) is None

    async def test_kinds_and_names_are_apart(self, store: Subject) -> None:
        await store.put_documents([document(), document(kind="task_def")], overwrite=False)

        assert await store.get_document("task_def", "pipeline") == document(kind="task_def")
        assert await store.get_document("task_def", "Pipeline") is None
        assert await store.get_document("event_handler", "pipeline") is None
        assert await store.list_documents("task_def") == [document(kind="task_def")]

    async def test_a_document_that_exists_is_kept_and_all_are_refused(self, store: Subject) -> None:
        await store.put_documents([document("b")], overwrite=False)
        changed = document("b", body=b'{"changed":true}')

        answers = await store.put_documents(
            [document("a"), changed, document("c")], overwrite=False
        )

        assert answers == [True, False, True]
        assert await store.list_documents(KIND) == [document("b")]

    async def test_overwriting_keeps_the_time_of_creation(self, store: Subject) -> None:
        await store.put_documents([document()], overwrite=False)
        after = document(
            body=b"[]", created_at_ms=NOW_MS + 9, updated_at_ms=NOW_MS + 9, owner="other"
        )

        answers = await store.put_documents([after, document("new")], overwrite=True)

        assert answers == [True, True]
        found = await store.get_document(KIND, "pipeline")
        assert found == replace(after, created_at_ms=NOW_MS)
        assert await store.get_document(KIND, "new") == document("new")

    async def test_documents_are_listed_by_name_and_version(self, store: Subject) -> None:
        pairs = [("b", 2), ("a", 10), ("b", 1), ("a", 9), ("ab", 1)]
        await store.put_documents([document(*pair) for pair in pairs], overwrite=False)

        every = await store.list_documents(KIND)
        only = await store.list_documents(KIND, "a")

        assert [(one.name, one.version) for one in every] == [
            ("a", 9),
            ("a", 10),
            ("ab", 1),
            ("b", 1),
            ("b", 2),
        ]
        assert only == every[:2]
        assert await store.list_documents(KIND, "none") == []
        assert await store.list_documents("none") == []

    async def test_one_version_is_deleted_alone(self, store: Subject) -> None:
        await store.put_documents([document(version=one) for one in (1, 2)], overwrite=False)

        assert await store.delete_document(KIND, "pipeline", 2) is True
        assert await store.delete_document(KIND, "pipeline", 2) is False
        assert await store.get_document(KIND, "pipeline") == document(version=1)

    async def test_all_versions_are_deleted_at_once(self, store: Subject) -> None:
        await store.put_documents([document(version=one) for one in (1, 2)], overwrite=False)
        await store.put_documents([document("other")], overwrite=False)

        assert await store.delete_document(KIND, "pipeline") is True
        assert await store.delete_document(KIND, "pipeline") is False
        assert await store.list_documents(KIND) == [document("other")]

    async def test_a_deleted_document_can_be_put_again(self, store: Subject) -> None:
        await store.put_documents([document()], overwrite=False)
        await store.delete_document(KIND, "pipeline", 1)
        later = document(created_at_ms=NOW_MS + 5)

        assert await store.put_documents([later], overwrite=False) == [True]
        assert await store.get_document(KIND, "pipeline") == later

    async def test_a_large_catalogue_is_put_at_once(self, store: Subject) -> None:
        documents = [document(f"w{number:03}") for number in range(300)]

        assert await store.put_documents(documents, overwrite=True) == [True] * 300
        assert await store.list_documents(KIND) == documents
        assert await store.put_documents([], overwrite=False) == []

    async def test_a_snapshot_is_kept_under_its_hash(self, store: Subject) -> None:
        body = b'{"name":"\xc3\xa9"}' * 10_000

        await store.put_snapshot("abc", body)
        await store.put_snapshot("abc", body)

        assert await store.get_snapshot("abc") == body
        assert await store.get_snapshot("abd") is None
