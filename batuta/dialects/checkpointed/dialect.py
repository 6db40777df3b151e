"""The routes of class workflows, with their own status codes and error body. Source: S4.1."""

import asyncio
from hashlib import sha256
from pathlib import Path

import msgspec

from batuta.api.dispatch.mount import Mount
from batuta.api.request import Reply, Request, Route, json_reply
from batuta.dialects.base import Dialect, Host
from batuta.dialects.checkpointed.author.alias import install
from batuta.dialects.checkpointed.door.token import User, signing_key, user_of
from batuta.dialects.checkpointed.folder.shelf import Shelf
from batuta.dialects.checkpointed.job.event import read_id
from batuta.dialects.checkpointed.job.find import NAME, Jobs
from batuta.dialects.checkpointed.job.stream import EVENT_STREAM, NOT_STORED, job_events
from batuta.dialects.checkpointed.job.view import (
    FAILED,
    STATUSES,
    WAITING,
    current_step,
    execution,
    status_of,
)
from batuta.dialects.checkpointed.run.lower import lowered
from batuta.dialects.checkpointed.run.step import Crew
from batuta.model.command import ResetCallbacks, RetryWorkflow, TerminateWorkflow
from batuta.model.error import BatutaError, BusyError, ConflictError, InvalidError, NotFoundError
from batuta.model.payload import Payload
from batuta.runtime.clock import pause
from batuta.runtime.view import RunView, StartRequest
from batuta.workers.media.ai import Services

BUILT_IN = Path(__file__).parent / "builtin"
EXECUTE = "/workflows/execute"
LIMIT, LIMIT_MAX = 50, 500  # jobs of a list
CANCELLED = "Job cancelled by user"
HURRY_S = 5.0  # until a retry that was just made waits, so that it can be hurried
HURRY_PAUSE_S = 0.02
NO_EXECUTION = "Workflow execution not found"


async def open_checkpointed(host: Host) -> Dialect:
    """Return the dialect, its workflows loaded."""
    install()
    shelf = Shelf([host.workflows_folder, BUILT_IN])
    front = _Front(host, shelf)
    crew = Crew(
        host.engine,
        shelf,
        host.media,
        environment=host.environment,
        interval_s=host.retry_interval_s,
        services=Services(ai=host.ai, media=host.media, targets=host.targets),
    )
    listed = [one for one in (await shelf.packages()).values() if one.is_listed]
    return Dialect(
        mount=Mount(name=NAME, routes=front.routes(), render=render, uploads=(EXECUTE,)),
        functions=(crew.function(),),
        loops={"workflows": shelf.run},
        news=("Workflow retry manager started", f"Loaded {len(listed)} workflows"),
    )


def render(status: int, error: BatutaError) -> Reply:
    """Word an error as `{success: false, error}`."""
    headers = getattr(error, "headers", ())
    if isinstance(error, BusyError):
        seconds = -(-error.retry_after_ms // 1_000)
        headers = ((b"retry-after", str(seconds).encode()),)
    reply = json_reply({"success": False, "error": error.message}, status)
    return Reply(reply.status, reply.body, reply.media, tuple(headers))


class _Front:
    """The handlers."""

    def __init__(self, host: Host, shelf: Shelf) -> None:
        self._host = host
        self._engine = host.engine
        self._shelf = shelf
        self._jobs = Jobs(host.engine)
        self._key = ""

    def routes(self) -> tuple[Route, ...]:
        """Return the rows of this dialect."""
        rows = (
            ("GET", "/workflows/list", self.list, "List the class workflows"),
            ("GET", "/workflows/diagnostics", self.diagnostics, "List folders that are broken"),
            ("POST", EXECUTE, self.execute, "Start a job of a class workflow"),
            ("POST", "/workflows/retry/{jobId}", self.retry, "Try a failed or waiting job again"),
            ("GET", "/workflows/execution/{jobId}", self.execution, "Show a job's checkpoints"),
            ("GET", "/jobs", self.jobs, "List your jobs"),
            ("GET", "/jobs/stats", self.stats, "Count your jobs by status"),
            ("GET", "/jobs/in-progress", self.in_progress, "List your jobs that have not ended"),
            ("GET", "/jobs/{jobId}", self.job, "Show a job"),
            ("DELETE", "/jobs/{jobId}", self.cancel, "Cancel a job"),
            ("GET", "/jobs/{jobId}/stream", self.stream, "Tell of a job while it goes"),
        )
        return tuple(
            Route(method=method, path=path, handler=handler, summary=summary, group=NAME)
            for method, path, handler, summary in rows
        )

    async def list(self, _: Request) -> Reply:
        """GET /workflows/list: open to everybody."""
        packages = (await self._shelf.packages()).values()
        listed = [one.config for one in packages if one.is_listed]
        return json_reply({"success": True, "workflows": listed})

    async def diagnostics(self, request: Request) -> Reply:
        """GET /workflows/diagnostics: what the list lacks, and why."""
        self._user(request)
        packages = await self._shelf.packages()
        faults = [{"folder": one.folder, "error": one.error} for one in self._shelf.faults]
        return json_reply({"success": True, "loaded": sorted(packages), "diagnostics": faults})

    async def execute(self, request: Request) -> Reply:
        """POST /workflows/execute."""
        # They take a reader of forms, which a server without uploads need not pay.
        from batuta.dialects.checkpointed.door.form import read_sent  # noqa: PLC0415
        from batuta.dialects.checkpointed.door.start import read_wish  # noqa: PLC0415

        user = self._user(request)
        job_id = self._engine.new_id()
        sent = await read_sent(request, self._host.media, job_id)
        wanted = sent.fields.get("workflow_id")
        if not wanted:
            raise InvalidError("workflow_id is required")
        package = await self._shelf.current(str(wanted))
        if package is None or not package.is_listed:
            raise NotFoundError(f"Workflow {wanted} not found")
        wish = read_wish(sent, package.config)
        retries_max = self._host.retries_max
        key = sha256(msgspec.json.encode((package.config, retries_max))).hexdigest()
        pinned = await self._engine.definitions.pin_made(
            f"{NAME} {key}", lambda: lowered(package.config, retries_max=retries_max)
        )
        await self._engine.start(
            StartRequest(
                name=package.workflow_id,
                pinned=pinned,
                input=Payload.of(
                    {
                        "workflow_id": package.workflow_id,
                        "workflow_name": package.config["name"],
                        "user_id": user.user_id,
                        "options": wish.options,
                        "input": wish.input,
                    }
                ),
                dialect=NAME,
                owner=user.user_id,
                workflow_id=job_id,
            ),
            actor=user.user_id,
        )
        return json_reply(
            {"success": True, "job_id": job_id, "stream_url": f"/jobs/{job_id}/stream"}
        )

    async def retry(self, request: Request) -> Reply:
        """POST /workflows/retry/{jobId}: a failed job at its failed step; a waiting one now."""
        user = self._user(request)
        run = await self._jobs.find(user.user_id, request.values[0], NO_EXECUTION)
        job_id, status = run.workflow.workflow_id, status_of(run)
        await self._shelf.look()  # what was fixed a moment ago counts
        if status == FAILED:
            await self._engine.control(RetryWorkflow(workflow_id=job_id), actor=user.user_id)
        elif status == WAITING:
            await self._hurry(job_id, user)
        else:
            raise ConflictError(f"Job is {status}; only one that failed or waits can be retried")
        return json_reply(
            {
                "success": True,
                "message": "Workflow retry started",
                "execution_id": job_id,
                "resume_from_step": current_step(run),
            }
        )

    async def execution(self, request: Request) -> Reply:
        """GET /workflows/execution/{jobId}."""
        user = self._user(request)
        run = await self._jobs.find(user.user_id, request.values[0], NO_EXECUTION)
        return json_reply({"success": True, "execution": execution(run)})

    async def jobs(self, request: Request) -> Reply:
        """GET /jobs: the newest first."""
        user, status = self._user(request), request.text("status")
        if status is not None and status not in STATUSES:
            raise InvalidError(f"status must be one of {', '.join(STATUSES)}")
        limit = request.integer("limit", LIMIT)
        if not 0 < limit <= LIMIT_MAX:
            raise InvalidError(f"limit must be 1 to {LIMIT_MAX}")
        if request.text("job_type") not in {None, "workflow"}:
            return json_reply({"success": True, "jobs": []})
        found = await self._jobs.listed(
            user.user_id, status=status, workflow_id=request.text("workflow_id"), limit=limit
        )
        return json_reply({"success": True, "jobs": found})

    async def stats(self, request: Request) -> Reply:
        """GET /jobs/stats."""
        return json_reply(
            {"success": True, "stats": await self._jobs.counts(self._user(request).user_id)}
        )

    async def in_progress(self, request: Request) -> Reply:
        """GET /jobs/in-progress."""
        found = await self._jobs.under_way(self._user(request).user_id)
        return json_reply({"success": True, "jobs": found})

    async def job(self, request: Request) -> Reply:
        """GET /jobs/{jobId}."""
        run = await self._jobs.find(self._user(request).user_id, request.values[0])
        return json_reply({"success": True, "job": await self._jobs.shown(run)})

    async def cancel(self, request: Request) -> Reply:
        """DELETE /jobs/{jobId}: its step is told to stop."""
        user = self._user(request)
        run = await self._jobs.find(user.user_id, request.values[0])
        if run.workflow.status.is_terminal:
            raise InvalidError(f"Cannot cancel a job that is {status_of(run)}")
        command = TerminateWorkflow(workflow_id=run.workflow.workflow_id, reason=CANCELLED)
        await self._engine.control(command, actor=user.user_id)
        return json_reply(
            {"success": True, "message": "Job cancelled", "job_id": run.workflow.workflow_id}
        )

    async def stream(self, request: Request) -> Reply:
        """GET /jobs/{jobId}/stream."""
        user = user_of(request, self._signing_key(), may_be_in_query=True)
        run = await self._jobs.find(user.user_id, request.values[0])
        self._engine.feed.check_room()
        last = next((v for n, v in request.scope["headers"] if n == b"last-event-id"), b"")
        seen = read_id(last.decode("latin-1"))
        events = job_events(self._engine, self._jobs, run.workflow.workflow_id, seen)
        return Reply(200, media=EVENT_STREAM, headers=NOT_STORED, chunks=events)

    async def _hurry(self, job_id: str, user: User) -> None:
        """Have a waiting job's step offered now; its worker sees that its time has not come.

        Raises:
            BusyError: It does not wait yet, because all workers have something else in hand.
        """
        try:
            async with asyncio.timeout(HURRY_S):
                while not _can_be_hurried(run := await self._engine.get(job_id)):
                    if status_of(run) != WAITING:
                        return  # somebody else was faster
                    await pause(HURRY_PAUSE_S)
        except TimeoutError:
            raise BusyError("the server is busy; try again in a moment") from None
        await self._engine.control(ResetCallbacks(job_id), actor=user.user_id)

    def _user(self, request: Request) -> User:
        return user_of(request, self._signing_key())

    def _signing_key(self) -> str:
        """Return the key, made by the first request that needs it."""
        self._key = self._key or signing_key(self._host.jwt_secret, self._host.folder)
        return self._key


def _can_be_hurried(run: RunView) -> bool:
    return any(view.task.due_at_ms and not view.task.status.is_terminal for view in run.tasks)
