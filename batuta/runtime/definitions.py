"""Definitions: registering them, and pinning a run to a snapshot of them.

A snapshot holds the definition and the task definitions it uses, under its content hash; a
graph in memory is built once for each. Registrations are documents of the catalogue.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace

from batuta.core.definition.lint import lint
from batuta.core.definition.normalize import (
    faults_text,
    read_task_def,
    read_workflow_def,
    to_document,
)
from batuta.core.definition.validate import validate_task_def, validate_workflow_def
from batuta.core.definition.warning import Warned
from batuta.core.graph import Graph, Snapshot, inner_lists, with_lists
from batuta.model.change import Failure, NeedDefinition, PinnedDefinition
from batuta.model.definition import TaskDef, WorkflowDef, WorkflowTask
from batuta.model.error import FAULTS_MAX, ConflictError, Fault, InvalidError, NotFoundError
from batuta.runtime.quarantine.document import readable, snapshot, task_def, workflow_def
from batuta.store.base import Catalog, Document

WORKFLOW_DEF, TASK_DEF = "workflow_def", "task_def"
GRAPHS_BYTES_MAX = 64 * 1024 * 1024  # of snapshots whose graphs stay in memory
GRAPH_BYTES_FACTOR = 12  # memory of a graph for each byte of its snapshot, measured
LATEST = 0
MADE = -1  # in place of a version: a definition that is registered nowhere
STORED_MAX = 100_000  # snapshots known to be stored; some front doors make one for each run
LOOKED_UP_MAX = 8  # task definitions read one by one; more are picked from the list of all
WARNINGS_LOGGED_MAX = 20  # of one definition at its registration; lint tells all
PIN_MS_MAX = 1_000  # how long a node starts what another node has registered anew meanwhile

_log = logging.getLogger(__name__)

_ENCODER = msgspec.json.Encoder()  # in the author's order, in which outputs are shown


class Definitions:
    """The catalogue's definitions, checked, cached and pinned.

    Args:
        is_strict: Refuse what OSS refuses (DESIGN.md 6); lenient accepts the older forms too.
        is_shared: Other nodes register too; theirs are seen within PIN_MS_MAX.
    """

    def __init__(
        self,
        catalog: Catalog,
        now_ms: Callable[[], int],
        *,
        is_strict: bool = False,
        is_shared: bool = False,
    ) -> None:
        self._catalog = catalog
        self._now_ms = now_ms
        self._is_strict = is_strict
        self._is_shared = is_shared
        self._graphs: dict[str, Graph] = {}
        self._graph_bytes: dict[str, int] = {}
        self._pins: dict[tuple[str, int], tuple[PinnedDefinition, int]] = {}  # and since when
        self._registrations = 0
        self._stored: set[str] = set()
        self._lock = asyncio.Lock()

    async def put_workflow_defs(
        self, documents: Sequence[Any], *, overwrite: bool
    ) -> list[WorkflowDef]:
        """Register workflow definitions, all or none.

        Raises:
            InvalidError: With every fault of every document, paths prefixed when several.
            ConflictError: One is registered already and ``overwrite`` is False.
        """
        task_defs = {found.name: found for found in await self.list_task_defs()}
        found = self._read(
            documents,
            lambda d: read_workflow_def(d, strict=self._is_strict),
            lambda d: validate_workflow_def(d, strict=self._is_strict, task_defs=task_defs),
        )
        done = await self._put(WORKFLOW_DEF, found, overwrite=overwrite)
        taken = [d for d, is_new in zip(found, done, strict=True) if not is_new]
        if taken:
            names = ", ".join(f"{d.name}:{d.version}" for d in taken)
            raise ConflictError(f"workflow definition {names} exists already; use overwrite=true")
        _log_warnings(found, task_defs)
        return found

    async def get_workflow_def(self, name: str, version: int = LATEST) -> WorkflowDef:
        """Return a definition; version 0 is the latest.

        Raises:
            NotFoundError: No such definition or version.
        """
        document = await self._catalog.get_document(WORKFLOW_DEF, name, version)
        if document is None:
            wanted = f"version {version} of " if version else ""
            raise NotFoundError(f"no {wanted}workflow definition {name!r}; register it first")
        return workflow_def(document)

    async def list_workflow_defs(self, name: str | None = None) -> list[WorkflowDef]:
        """Return all versions of all definitions, or of one name."""
        documents = await self._catalog.list_documents(WORKFLOW_DEF, name)
        return readable(documents, workflow_def)

    async def delete_workflow_def(self, name: str, version: int) -> None:
        """Remove one version; runs pinned to it go on.

        Raises:
            NotFoundError: No such definition or version.
        """
        if not await self._catalog.delete_document(WORKFLOW_DEF, name, version):
            raise NotFoundError(f"no version {version} of workflow definition {name!r}")
        self._forget_pins()

    async def validate(self, document: Any, *, is_registered: bool = True) -> list[Fault]:
        """Return what is wrong with a workflow definition; empty when it may be registered."""
        try:
            found = read_workflow_def(document, strict=self._is_strict)
        except InvalidError as error:
            return list(error.faults)
        return validate_workflow_def(found, strict=self._is_strict, is_registered=is_registered)

    async def lint(
        self, name: str, version: int = LATEST, *, polled: Collection[str] | None = None
    ) -> tuple[WorkflowDef, list[Warned]]:
        """Return a registered definition and what it says and hardly means.

        Args:
            polled: Task types that workers poll; None: not known.

        Raises:
            NotFoundError: No such definition or version.
        """
        definition = await self.get_workflow_def(name, version)
        task_defs = {found.name: found for found in await self.list_task_defs()}
        return definition, lint(definition, task_defs=task_defs, polled=polled)

    async def put_task_defs(self, documents: Sequence[Any]) -> list[TaskDef]:
        """Register task definitions, all or none, over those there are (gotchas.md 19).

        Raises:
            InvalidError: With every fault of every document.
        """
        found = self._read(
            documents,
            lambda d: read_task_def(d, strict=self._is_strict),
            lambda d: validate_task_def(d, strict=self._is_strict),
        )
        await self._put(TASK_DEF, found, overwrite=True)
        return found

    async def get_task_def(self, name: str) -> TaskDef:
        """Return a task definition.

        Raises:
            NotFoundError: It is not registered.
        """
        document = await self._catalog.get_document(TASK_DEF, name)
        if document is None:
            raise NotFoundError(f"no task definition {name!r}; register it first")
        return task_def(document)

    async def list_task_defs(self) -> list[TaskDef]:
        """Return all task definitions by name."""
        return readable(await self._catalog.list_documents(TASK_DEF), task_def)

    async def task_defs_of(self, names: Sequence[str]) -> dict[str, TaskDef]:
        """Return the registered ones of these task definitions, by name."""
        if len(names) > LOOKED_UP_MAX:
            registered = {found.name: found for found in await self.list_task_defs()}
            return {name: registered[name] for name in names if name in registered}
        documents = [await self._catalog.get_document(TASK_DEF, name) for name in names]
        return {found.name: task_def(found) for found in documents if found is not None}

    async def delete_task_def(self, name: str) -> None:
        """Remove a task definition; runs started before keep their snapshot.

        Raises:
            NotFoundError: It is not registered.
        """
        if not await self._catalog.delete_document(TASK_DEF, name):
            raise NotFoundError(f"no task definition {name!r}")
        self._forget_pins()

    def pinned(self, name: str, version: int) -> PinnedDefinition | None:
        """Return the snapshot of a definition if it is in memory, graph included."""
        pinned, at_ms = self._pins.get((name, version), (None, 0))
        if pinned is None or pinned.definition not in self._graphs:
            return None
        is_old = self._is_shared and self._now_ms() - at_ms > PIN_MS_MAX
        return None if is_old else pinned

    async def pin(self, name: str, version: int = LATEST) -> PinnedDefinition:
        """Return the stored snapshot of a definition as registered now.

        Raises:
            NotFoundError: It, or a sub-workflow that it names, is not registered.
        """
        found = self.pinned(name, version)
        if found is not None:
            return found
        async with self._lock:
            found = self.pinned(name, version)  # somebody else may have done it meanwhile
            if found is not None:
                return found
            at_ms, registration = self._now_ms(), self._registrations
            definition = await self.get_workflow_def(name, version)
            found = await self.pin_inline(definition)
            if registration == self._registrations:  # else it may be out of date already
                self._pins[name, version] = (found, at_ms)
        return found

    async def pin_made(self, key: str, make: Callable[[], WorkflowDef]) -> PinnedDefinition:
        """Return the stored snapshot of a definition that a front door makes of a document.

        Args:
            key: Names the document and its content; made again only when ``key`` is not known.

        Raises:
            NotFoundError: A sub-workflow is not registered. Whatever ``make`` raises.
        """
        found = self.pinned(key, MADE)
        if found is None:
            at_ms, registration = self._now_ms(), self._registrations
            found = await self.pin_inline(make())
            if registration == self._registrations:
                self._pins[key, MADE] = (found, at_ms)
        return found

    def _forget_pins(self) -> None:
        """Have the next starts look up what is registered now."""
        self._registrations += 1
        self._pins.clear()

    async def pin_inline(self, definition: WorkflowDef) -> PinnedDefinition:
        """Return the stored snapshot of a definition that came with its start."""
        registered = {d.name: d for d in await self._catalog.list_documents(TASK_DEF)}
        definition = await self._with_pinned_children(definition)
        used = {
            task.name: task_def(registered[task.name])
            for task in _all_tasks(definition.tasks)
            if task.name in registered
        }
        body = _ENCODER.encode(Snapshot(workflow=definition, task_defs=used))
        digest = blake2b(body, digest_size=16).hexdigest()
        if digest not in self._stored:
            await self._catalog.put_snapshot(digest, body)
            if len(self._stored) >= STORED_MAX:
                self._stored.clear()  # each is put once more, which is the same
            self._stored.add(digest)
        if digest not in self._graphs:
            self._keep(digest, body)
        return PinnedDefinition(digest, definition.version)

    async def _with_pinned_children(self, definition: WorkflowDef) -> WorkflowDef:
        """Give every SUB_WORKFLOW without a version the latest one now (gotchas.md 37).

        A name that is an expression is looked up when the task runs.

        Raises:
            NotFoundError: A sub-workflow is not registered.
        """
        versions: dict[str, int] = {}
        for task in _all_tasks(definition.tasks):
            params = task.sub_workflow_param
            if params is None or params.version or params.workflow_definition is not None:
                continue
            if params.name and "${" not in params.name:
                child = await self.get_workflow_def(params.name)
                versions[params.name] = child.version
        return (
            replace(definition, tasks=_pin(definition.tasks, versions)) if versions else definition
        )

    async def resolve(self, need: NeedDefinition) -> PinnedDefinition | Failure:
        """Answer a run's need: a missing or faulty definition fails the task, not the engine."""
        try:
            if not need.inline:
                return await self.pin(need.name, need.version)
            document = msgspec.json.decode(need.inline)
            faults = await self.validate(document, is_registered=False)
            if faults:
                return Failure(f"workflowDefinition is invalid: {faults_text(faults)}")
            return await self.pin_inline(read_workflow_def(document, strict=self._is_strict))
        except NotFoundError as error:
            return Failure(error.message)

    def graph_in_memory(self, digest: str) -> Graph | None:
        """Return the graph of a snapshot if it is in memory."""
        return self._graphs.get(digest)

    async def graph(self, digest: str) -> Graph:
        """Return the graph of a stored snapshot.

        Raises:
            NotFoundError: No such snapshot: the store is damaged.
        """
        graph = self._graphs.get(digest)
        if graph is None:
            body = await self._catalog.get_snapshot(digest)
            if body is None:
                raise NotFoundError(f"no definition snapshot {digest!r}; the store is damaged")
            self._stored.add(digest)
            graph = self._keep(digest, body)
        return graph

    def _keep(self, digest: str, body: bytes) -> Graph:
        graph = Graph(snapshot(digest, body), digest)
        self._graphs[digest] = graph
        self._graph_bytes[digest] = len(body) * GRAPH_BYTES_FACTOR
        while sum(self._graph_bytes.values()) > GRAPHS_BYTES_MAX and len(self._graphs) > 1:
            oldest = next(iter(self._graphs))  # runs in memory keep their graph themselves
            del self._graphs[oldest], self._graph_bytes[oldest]
            self._pins = {k: v for k, v in self._pins.items() if v[0].definition != oldest}
        return graph

    def _read(
        self,
        documents: Sequence[Any],
        read: Callable[[Any], Any],
        validate: Callable[[Any], Sequence[Fault]],
    ) -> list[Any]:
        found, faults = [], []
        for place, document in enumerate(documents):
            prefix = f"[{place}]." if len(documents) > 1 else ""
            try:
                definition = read(document)
                of_this: Sequence[Fault] = validate(definition)
                found.append(definition)
            except InvalidError as error:
                of_this = error.faults or (Fault("", error.message),)
            faults += [Fault(prefix + f.path, f.message, f.value) for f in of_this]
            if len(faults) >= FAULTS_MAX and place + 1 < len(documents):
                faults[FAULTS_MAX - 1 :] = [Fault(f"[{place + 1}]", "and those after it: not read")]
                break  # nobody reads more, and nothing else is decided meanwhile
        if faults:
            raise InvalidError("Validation failed, check below errors for detail.", faults)
        return found

    async def _put(self, kind: str, definitions: Sequence[Any], *, overwrite: bool) -> list[bool]:
        now_ms = self._now_ms()
        documents = [
            Document(
                kind=kind,
                name=definition.name,
                version=getattr(definition, "version", 1),
                body=_ENCODER.encode(to_document(definition)),
                created_at_ms=now_ms,
                updated_at_ms=now_ms,
            )
            for definition in definitions
        ]
        try:
            return await self._catalog.put_documents(documents, overwrite=overwrite)
        finally:
            self._forget_pins()  # also after an error: its outcome may be unknown


def _log_warnings(definitions: Sequence[WorkflowDef], task_defs: Mapping[str, TaskDef]) -> None:
    """Tell the log what new definitions hardly mean, a line each; names are as users gave them."""
    for definition in definitions:
        warnings = lint(definition, task_defs=task_defs)
        title = f"{definition.name!r} version {definition.version}"
        for one in warnings[:WARNINGS_LOGGED_MAX]:
            _log.warning(
                "definition %.200s: %s at %.200r: %.500r", title, one.code, one.path, one.message
            )
        more = len(warnings) - WARNINGS_LOGGED_MAX
        if more > 0:
            _log.warning("definition %.200s: and %d more warnings", title, more)


def _all_tasks(tasks: Sequence[WorkflowTask]) -> list[WorkflowTask]:
    found = list(tasks)
    for task in found:  # grows while it is walked
        for inner in inner_lists(task):
            found.extend(inner)
    return found


def _pin(tasks: Sequence[WorkflowTask], versions: dict[str, int]) -> list[WorkflowTask]:
    """Return the tasks, at any depth, with the children's versions filled in."""
    pinned = []
    for task in tasks:
        params = task.sub_workflow_param
        if params is not None and not params.version and params.name in versions:
            params = replace(params, version=versions[params.name])
        pinned.append(
            with_lists(task, lambda inner: _pin(inner, versions), sub_workflow_param=params)
        )
    return pinned
