"""Tasks that workers do: SIMPLE, and every type the engine does not settle itself."""

from batuta.core.draft import Draft
from batuta.core.graph import SERVED_TYPES, Node
from batuta.core.tasks.attempt import Attempt, create, delay_fields, start_or_delay
from batuta.model.change import NeedDomain
from batuta.model.limit import SEPARATOR

NO_DOMAIN = "NO_DOMAIN"  # in a taskToDomain value: the plain queue


def begin(draft: Draft, attempt: Attempt) -> None:
    """Create the task and put it into its queue, now or after its delay."""
    node = attempt.node
    domain = domain_of(draft, node)
    queue = f"{domain}:{node.queue}" if domain else node.queue
    queue = queue.replace(SEPARATOR, "\N{REPLACEMENT CHARACTER}")
    task = create(
        draft,
        attempt,
        task_type=node.queue,
        queue=queue,
        domain=domain,
        **delay_fields(attempt),
    )
    if task is not None and start_or_delay(draft, task, attempt):
        draft.enqueue(task, node.policy)


def domain_of(draft: Draft, node: Node) -> str | None:
    """Choose the domain of a task now; it is not chosen again later.

    A key is a task name, or ``*`` for all, the name winning. Of a list the first domain with a
    recent poll is taken, else the last; ``NO_DOMAIN`` is the plain queue.
    Source: semantics.md d.10, gotchas.md 51.
    """
    wanted = draft.workflow.task_to_domain
    if not wanted or node.type in SERVED_TYPES:
        return None
    text = wanted.get(node.queue) or wanted.get("*")
    if not text:
        return None
    domains = [domain.strip() for domain in text.split(",") if domain.strip()]
    for domain in domains[:-1]:
        if domain == NO_DOMAIN:
            return None
        if draft.answer(NeedDomain(f"{domain}:{node.queue}")):
            return domain
    return domains[-1] if domains and domains[-1] != NO_DOMAIN else None
