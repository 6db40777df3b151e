"""Runs: look at them, pause, resume, terminate and retry them."""

from batuta.api.request import EMPTY, NO_CONTENT, Reply, Request, json_reply
from batuta.api.wire import status_body, workflow_body
from batuta.model.command import PauseWorkflow, ResumeWorkflow, RetryWorkflow, TerminateWorkflow


async def get_workflow(request: Request) -> Reply:
    """Show a run, with its tasks unless ``includeTasks=false``."""
    with_tasks = request.boolean("includeTasks", default=True)
    run = await request.engine.get(request.values[0], with_tasks=with_tasks)
    return json_reply(workflow_body(run))


async def get_status(request: Request) -> Reply:
    """Show where a run stands, with its output and variables on demand."""
    run = await request.engine.get(request.values[0], with_tasks=False)
    body = status_body(
        run,
        with_output=request.boolean("includeOutput", default=False),
        with_variables=request.boolean("includeVariables", default=False),
    )
    return json_reply(body)


async def pause(request: Request) -> Reply:
    """Stop scheduling tasks; those in workers' hands go on."""
    await request.engine.control(PauseWorkflow(request.values[0]))
    return EMPTY


async def resume(request: Request) -> Reply:
    """Go on after a pause."""
    await request.engine.control(ResumeWorkflow(request.values[0]))
    return EMPTY


async def terminate(request: Request) -> Reply:
    """End a run now; its failure workflow is not started (gotchas.md 45)."""
    command = TerminateWorkflow(workflow_id=request.values[0], reason=request.text("reason"))
    await request.engine.control(command)
    return EMPTY


async def retry(request: Request) -> Reply:
    """Try the failed tasks of an ended run again; 204, as Conductor (gotchas.md 6)."""
    command = RetryWorkflow(
        workflow_id=request.values[0],
        resume_children=request.boolean("resumeSubworkflowTasks", default=False),
    )
    await request.engine.control(command)
    return NO_CONTENT
