"""The task function of the type HTTP: all of it that an idle server has to know."""

from batuta.workers.function import TaskContext, TaskFunction
from batuta.workers.outcome import Outcome
from batuta.workers.system.target import Targets


def http_function(targets: Targets, *, concurrency: int) -> TaskFunction:
    """Make the task function of the type HTTP.

    Args:
        targets: What may be called.
        concurrency: How many requests at once, 1 to CONCURRENCY_MAX.
    """

    async def do(task: TaskContext) -> Outcome:
        # it takes aiohttp, 0.4 s and 14 MB, which a server without HTTP tasks need not pay
        from batuta.workers.system.perform import perform

        return await perform(task, targets)

    return TaskFunction(
        task_type="HTTP",
        call=do,
        bind=lambda _, task: {"task": task},
        is_async=True,
        is_inline=False,
        concurrency=concurrency,
        domain=None,
    )
