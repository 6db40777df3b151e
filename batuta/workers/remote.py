"""Polling and reporting over HTTP, as the official SDKs do it.

One batch poll for each task function asks for as many tasks as it has idle lanes. A report goes to
update-v2, whose answer may be the next task; a server without it gets POST /tasks. A report is
repeated until the server has taken it: a server that restarts loses no result.

Source: clients.md 1.2.
"""

import asyncio
import logging
import urllib.parse
from collections import deque

import msgspec

from batuta.workers.address import api_base
from batuta.workers.backoff import Backoff
from batuta.workers.function import Job, TaskFunction
from batuta.workers.outcome import GIVEN_BACK, NOTHING, Outcome, refused
from batuta.workers.wire import TASK, TASKS, heartbeat_body, result_body, to_job

log = logging.getLogger(__name__)

# The server answers as soon as one task is there, so a long wait costs no time and saves requests.
POLL_WAIT_MS = 1_000
POLL_WAIT_MS_MAX = 5_000  # Conductor refuses a longer one
ANSWER_S = 45.0  # longer than a busy server lets a report wait (update_wait_ms, 30 s)
QUICK_S = 0.05  # an empty answer that came faster did not wait: the next poll should
POLL_COUNT_MAX = 100  # tasks in one answer

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_MISSING = frozenset({404, 405})  # update-v2 on a server that has none
# What passes: the server is busy, or whoever stands before it wants a key that may yet be given.
_PASSING = frozenset({401, 403, 408, 425, 429})


class RemoteTransport:
    """A worker with a server somewhere else. Create it on the loop that it works on."""

    def __init__(self, server: str, worker_id: str, *, poll_wait_ms: int = POLL_WAIT_MS) -> None:
        """Connect to a server.

        Args:
            server: With or without `/api`.
            worker_id: Shown with its tasks.
            poll_wait_ms: How long an empty poll waits at the server, POLL_WAIT_MS_MAX at most.
        """
        import aiohttp

        self._poll_wait_ms = min(poll_wait_ms, POLL_WAIT_MS_MAX)
        self._base = api_base(server)
        self._worker_id = worker_id
        self._feeds: dict[tuple[str, str | None], _Feed] = {}
        self._has_update_v2 = True
        self._is_out = False
        self._failures = (aiohttp.ClientError, TimeoutError, OSError)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # lanes are the limit
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            headers=_HEADERS,
        )

    async def take(self, function: TaskFunction) -> Job | None:
        """Wait for a task of the batches that are polled for all idle lanes together."""
        key = (function.task_type, function.domain)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed(self, function)
        return await feed.take()

    async def report(self, job: Job, outcome: Outcome, *, is_taking: bool) -> Job | None:
        """Send the report until the server has taken it or says that it never will."""
        backoff = Backoff()
        is_in_doubt = False  # update-v2 answered 404: it is missing, or the task is gone
        while True:
            is_chained = is_taking and self._has_update_v2 and not is_in_doubt
            path = "/tasks/update-v2" if is_chained else "/tasks"
            try:
                status, answer = await self._post(path, result_body(job, outcome, self._worker_id))
            except self._failures as error:
                log.warning("cannot report task %s, trying again: %s", job.task_id, error)
                await backoff.wait()
                continue
            if status < 300:
                self._has_update_v2 = self._has_update_v2 and not is_in_doubt
                return _next_job(answer) if is_chained and answer else None
            if is_chained and status in _MISSING:
                is_in_doubt = True
                continue
            if status >= 500 or status in _PASSING:
                log.warning("the server answered %s to the report on %s", status, job.task_id)
                await backoff.wait()
                continue
            text = answer.decode("utf-8", "replace")
            log.error("the report on task %s was refused: %s %s", job.task_id, status, text)
            if status in (404, 409) or outcome.output in NOTHING:
                return None
            outcome = refused(outcome, text)

    async def extend(self, job: Job) -> bool:
        """Send a heartbeat; a failed call is left to the next one."""
        status, _ = await self._post("/tasks", heartbeat_body(job, self._worker_id))
        return status not in (404, 409)

    async def add_log(self, job: Job, line: str) -> None:
        """Send a line of the task's log."""
        body = line.encode("utf-8", "backslashreplace")
        status, _ = await self._post(f"/tasks/{_quoted(job.task_id)}/log", body)
        if status >= 500 or status in _PASSING:
            raise ConnectionError(f"the server answered {status}")

    async def close(self) -> None:
        """Stop polling and close the connections."""
        for feed in self._feeds.values():
            await feed.close()
        await self._session.close()

    async def poll(self, function: TaskFunction, count: int) -> list[Job]:
        """Ask once for up to `count` tasks.

        Raises:
            ConnectionError: The server did not answer, or not with tasks.
        """
        query = {
            "workerid": self._worker_id,
            "count": str(min(count, POLL_COUNT_MAX)),
            "timeout": str(self._poll_wait_ms),
        }
        if function.domain:
            query["domain"] = function.domain
        url = f"{self._base}/tasks/poll/batch/{_quoted(function.task_type)}"
        try:
            async with self._session.get(url, params=query) as answer:
                body = await answer.read()
        except self._failures as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        if answer.status >= 300:
            raise ConnectionError(f"it answered {answer.status} {body[:200]!r}")
        try:
            tasks = TASKS.decode(body) if body else None
        except msgspec.MsgspecError as error:
            raise ConnectionError(f"it answered what is no list of tasks: {error}") from error
        return [to_job(task) for task in tasks or ()]

    def note_outage(self, cause: str) -> None:
        """Log that polling fails: once for all task functions, not at each try."""
        if not self._is_out:
            log.warning("cannot poll %s, trying again: %s", self._base, cause)
        self._is_out = True

    def note_answer(self) -> None:
        """Log that polling works again."""
        if self._is_out:
            log.warning("%s answers again", self._base)
        self._is_out = False

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        async with self._session.post(self._base + path, data=body) as answer:
            return answer.status, await answer.read()


class _Feed:
    """The idle lanes of one task function, and the one poll that is made for all of them."""

    def __init__(self, transport: RemoteTransport, function: TaskFunction) -> None:
        self._transport = transport
        self._function = function
        self._waiting: deque[asyncio.Future[Job]] = deque()
        self._is_wanted = asyncio.Event()
        self._poller = asyncio.create_task(self._poll(), name=f"poll {function.task_type}")

    async def take(self) -> Job:
        """Wait for a task."""
        future: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._is_wanted.set()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it was given a task in this moment
                await self._give_back(future.result())
            raise

    async def close(self) -> None:
        """Stop polling."""
        self._poller.cancel()
        await asyncio.gather(self._poller, return_exceptions=True)

    async def _poll(self) -> None:
        backoff, spacing = Backoff(), Backoff(first_s=0.001, last_s=0.1)
        loop = asyncio.get_running_loop()
        while True:
            self._waiting = deque(future for future in self._waiting if not future.done())
            if not self._waiting:
                self._is_wanted.clear()
                await self._is_wanted.wait()
                continue
            began_at_s = loop.time()
            try:
                jobs = await self._transport.poll(self._function, len(self._waiting))
            except ConnectionError as error:
                self._transport.note_outage(str(error))
                await backoff.wait()
                continue
            except Exception:  # a loop's top: without polls its lanes would wait for ever
                log.exception("polling for %s failed, trying again", self._function.task_type)
                await backoff.wait()
                continue
            backoff.reset()
            self._transport.note_answer()
            for job in jobs:
                await self._hand_over(job)
            if jobs:
                spacing.reset()
            elif loop.time() - began_at_s < QUICK_S:
                await spacing.wait()

    async def _hand_over(self, job: Job) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(job)
                return
        # its lane was cancelled while the answer was on its way
        await self._give_back(job)

    async def _give_back(self, job: Job) -> None:
        await self._transport.report(job, GIVEN_BACK, is_taking=False)


def _next_job(answer: bytes) -> Job | None:
    try:
        task = TASK.decode(answer)
    except msgspec.MsgspecError:
        return None
    return to_job(task) if task is not None and task.task_id else None


def _quoted(segment: str) -> str:
    return urllib.parse.quote(segment, safe="")
