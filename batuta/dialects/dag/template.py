"""Templates of apiCall nodes, for editors to choose from: own ones, and those of the mock service.

The original's shape is not known in detail; a template is the config of an apiCall node with a
name, a description and a category. Source: S1.1.
"""

from typing import Any

import msgspec

from batuta.api.body import decode_whole
from batuta.api.request import Reply, Request, json_reply, read_body
from batuta.dialects.dag.catalog import Kept
from batuta.dialects.dag.definition import NAME_CHARACTERS_MAX
from batuta.dialects.dag.mock import PREFIX
from batuta.model.error import ConflictError, Fault, InvalidError
from batuta.runtime.clock import wall_ms
from batuta.runtime.engine import Engine

CREATED = 201
OTHER = "Other"  # the category of a template that has none
_TEXTS = ("name", "description", "category", "method", "url", "bodyTemplate")
_LISTS = ("headers", "queryParams", "expectedStatusCodes")
_FIELDS = (*_TEXTS, *_LISTS, "timeoutMs", "body")
_SHOWN = ("id", "createdAt", "updatedAt", "isBundled")  # may come back with a change


class Template(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A template as it is kept and shown; ``config`` is of an apiCall node."""

    id: str
    name: str
    description: str = ""
    category: str = OTHER
    config: dict[str, Any] = {}
    created_at: int = 0
    updated_at: int = 0

    def shown(self) -> dict[str, Any]:
        """Return it as clients see it: the config's fields beside its own."""
        own = msgspec.to_builtins(self)
        config = own.pop("config")
        return {**own, **config, "isBundled": self.created_at == 0}


def _bundled(name: str, method: str, path: str, body: str = "") -> Template:
    config: dict[str, Any] = {"method": method, "url": f"http://localhost:3000{PREFIX}{path}"}
    if body:
        config["bodyTemplate"] = body
    template_id = path.partition("?")[0].replace("/", "-")
    return Template(id=template_id, name=name, category="Mock services", config=config)


BUNDLED = (
    _bundled("Weather of a city", "GET", "test-weather?city={{city}}"),
    _bundled(
        "Person enrichment",
        "POST",
        "mock/apollo/person-enrichment",
        '{"first_name": "{{firstName}}", "last_name": "{{lastName}}",'
        ' "organization_name": "{{company}}"}',
    ),
    _bundled(
        "Lead scoring",
        "POST",
        "mock/lead-scoring/analyze",
        '{"title": "{{title}}", "lead_source": "{{lead_source}}"}',
    ),
    _bundled("Temperature of a building", "GET", "mock/building/temperature?zone={{zone}}"),
    _bundled("Temperature, live", "GET", "mock/sensors/temperature/live?zone={{zone}}"),
    _bundled(
        "Air conditioning",
        "POST",
        "mock/building/ac/control",
        '{"zone": "{{zone}}", "action": "turn_on", "target_temperature": 22}',
    ),
)


class TemplateRoutes:
    """The handlers of `/api-templates`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept = Kept(engine.catalog, "dag_api_template", Template, "API template")

    def rows(self) -> tuple[tuple[str, str, Any, str], ...]:
        """Return method, path, handler and summary of each."""
        every, one = "/api-templates", "/api-templates/{id}"
        return (
            ("GET", every, self.listed, "List the templates of calls"),
            ("POST", every, self.create, "Keep a template of a call"),
            ("GET", f"{every}/grouped", self.grouped, "List them by category"),
            ("GET", one, self.read, "Show a template of a call"),
            ("PUT", one, self.change, "Change a template of a call"),
            ("DELETE", one, self.remove, "Remove a template of a call"),
        )

    async def listed(self, _: Request) -> Reply:
        """GET /api-templates: own ones, the one changed last first, then the bundled ones."""
        return json_reply([one.shown() for one in await self._all()])

    async def grouped(self, _: Request) -> Reply:
        """GET /api-templates/grouped."""
        found: dict[str, list[dict[str, Any]]] = {}
        for one in await self._all():
            found.setdefault(one.category, []).append(one.shown())
        return json_reply(found)

    async def create(self, request: Request) -> Reply:
        """POST /api-templates."""
        body = decode_whole(await read_body(request))
        now_ms = wall_ms()
        made = _read(body, Template(id=self._engine.new_id(), name="", created_at=now_ms), now_ms)
        await self._kept.put(made)
        return json_reply(made.shown(), CREATED)

    async def read(self, request: Request) -> Reply:
        """GET /api-templates/{id}."""
        return json_reply((await self._find(request.values[0])).shown())

    async def change(self, request: Request) -> Reply:
        """PUT /api-templates/{id}: the fields that are given."""
        body = decode_whole(await read_body(request))
        before = await self._own(request.values[0])
        changed = _read(body, before, wall_ms())
        await self._kept.put(changed)
        return json_reply(changed.shown())

    async def remove(self, request: Request) -> Reply:
        """DELETE /api-templates/{id}: the same answer for one that is not there."""
        template_id = request.values[0]
        _refuse_bundled(template_id)
        await self._kept.remove(template_id)
        return json_reply({"deleted": True})

    async def _all(self) -> list[Template]:
        return [*await self._kept.all(), *BUNDLED]

    async def _find(self, template_id: str) -> Template:
        bundled = next((one for one in BUNDLED if one.id == template_id), None)
        return bundled or await self._kept.find(template_id)

    async def _own(self, template_id: str) -> Template:
        _refuse_bundled(template_id)
        return await self._kept.find(template_id)


def _refuse_bundled(template_id: str) -> None:
    if any(one.id == template_id for one in BUNDLED):
        raise ConflictError("A bundled template cannot be changed; keep one of your own")


def _read(body: Any, before: Template, now_ms: int) -> Template:
    """Lay what a body gives over a template.

    Raises:
        InvalidError: With every fault, each a sentence that begins with the field.
    """
    faults: list[Fault] = []
    if not isinstance(body, dict):
        faults.append(Fault("the body", "must be an object"))
        body = {}
    known = (*_FIELDS, *_SHOWN)
    strange = [str(key)[:NAME_CHARACTERS_MAX] for key in body if key not in known]
    faults += [Fault(key, "should not exist") for key in strange]
    given = {key: body[key] for key in _FIELDS if body.get(key) is not None}
    faults += [
        Fault(key, "must be a string")
        for key in _TEXTS
        if key in given and not isinstance(given[key], str)
    ]
    faults += [
        Fault(key, "must be an array")
        for key in _LISTS
        if key in given and not isinstance(given[key], list)
    ]
    timeout = given.get("timeoutMs", 1)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
        faults.append(Fault("timeoutMs", "must be a positive number"))
    name, url = given.get("name", before.name), given.get("url", before.config.get("url"))
    if not faults and not name.strip():
        faults.append(Fault("name", "must be a string that is not empty"))
    if not faults and len(name) > NAME_CHARACTERS_MAX:
        faults.append(Fault("name", f"must be {NAME_CHARACTERS_MAX} characters at most"))
    if not faults and not (url or "").strip():
        faults.append(Fault("url", "must be a string that is not empty"))
    if faults:
        raise InvalidError("; ".join(f"{one.path} {one.message}" for one in faults), faults)
    own = {key: given.pop(key) for key in ("name", "description", "category") if key in given}
    return msgspec.structs.replace(
        before, **own, config={**before.config, **given}, updated_at=now_ms
    )
