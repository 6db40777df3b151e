"""A rerun from one task, and what it does to the run above a sub-workflow.

Source: docs/reference/operations.md, "Rerun"; semantics.md f. What was made later than what, the
fact says; what follows from that, this module does.
"""

from typing import TYPE_CHECKING

from batuta.model.definition import WorkflowTask
from batuta.model.execution import TaskStatus, WorkflowStatus
from tests.simulation.reference import dag, reopening
from tests.simulation.reference.fact import Given, UncoveredError
from tests.simulation.reference.made import Made

if TYPE_CHECKING:
    from tests.simulation.reference.machine import Machine
    from tests.simulation.reference.place import Place

_FORKS = frozenset({"FORK_JOIN", "FORK_JOIN_DYNAMIC"})
# What the engine does itself is given anew what its node says; a worker's task keeps its input.
_RESOLVED_LEAVES = frozenset({"WAIT", "HUMAN", "EVENT", "START_WORKFLOW", "SUB_WORKFLOW"})
# These read in their input what a node says; with another input they fail in words of their own.
_READ_WORDS = frozenset(
    {
        *("INLINE", "LAMBDA", "JSON_JQ_TRANSFORM", "TERMINATE"),
        *("DYNAMIC", "FORK_JOIN_DYNAMIC", "DO_WHILE"),
    }
)


def rerun(machine: "Machine") -> None:
    """Begin anew, or from one task, maybe with another input of the run."""
    fact = machine.fact
    machine.has_other_input |= fact.input != machine.input
    if fact.input is not None:
        machine.input = fact.input
    machine.correlation_id = fact.correlation_id
    if fact.origin is None:
        reopening.restart(machine)
    else:
        _from_task(machine, machine.find(*fact.origin), fact.task_input)


def _from_task(machine: "Machine", origin: Made, task_input: Given | None) -> None:
    from tests.simulation.reference.operators import BEGIN

    kind = origin.node.type
    if origin.status is TaskStatus.SKIPPED:
        raise UncoveredError("rerun-skipped: what is before it may not have run")
    if task_input is not None and kind in _READ_WORDS:
        raise UncoveredError("rerun-input: it says nothing that its type asks for")
    lost = [origin, *_behind(machine, origin)]
    for made in lost:
        machine.forget(made)
    machine.status = WorkflowStatus.RUNNING
    if any(_is_fork(made) for made in lost) and any(_is_fork(made) for made in machine.made):
        raise UncoveredError("fork-names: of one that is rerun, where another one stays")
    _turn_back(machine, lost)
    again = _like(machine, origin)
    if task_input is not None:
        again.input = task_input.value
    elif (kind in BEGIN and kind != "DYNAMIC") or kind in _RESOLVED_LEAVES:
        again.input = machine.input_of(origin.node)
    owner = origin.place.owner
    if owner is not None and owner.node.type == "FORK_JOIN_DYNAMIC":
        again.is_given = task_input is not None or origin.is_given
    again.joins = origin.joins  # of a JOIN behind a dynamic fork
    failed = _cut_short(machine, origin.name)
    machine.start(again)
    _go_on(machine, lost, failed)


def below(machine: "Machine") -> None:
    """Run again what is behind a sub-workflow that is rerun from a task of its own."""
    child = reopening.revived(machine)
    if child is None:
        raise UncoveredError("rerun-below: of which sub-workflow?")
    lost = _behind(machine, child)
    for made in lost:
        machine.forget(made)
    if machine.status.is_terminal:
        machine.status = WorkflowStatus.RUNNING
    reopening.open_in_place(machine, child)
    _turn_back(machine, [child, *lost])
    _go_on(machine, lost, _cut_short(machine, child.name))


def _like(machine: "Machine", one: Made) -> Made:
    """Return an attempt in the place of one that is gone."""
    made = Made(one.name, one.suffix, one.place, one.retry, machine.fact.at_ms, one.input)
    made.is_given = one.is_given
    return made


# -- what is gone ---------------------------------------------------------------------------------


def _behind(machine: "Machine", origin: Made) -> list[Made]:
    """Return what was made later, without what stays: skipped by hand, beside a sub-workflow."""
    order = machine.fact.order
    is_child = origin.node.type == "SUB_WORKFLOW"
    if is_child and _is_in_dag(origin):
        raise UncoveredError("rerun-dag: what is beside a sub-workflow in a DAG?")
    at = order[origin.name, origin.retry]
    return [
        made
        for made in machine.made
        if order[made.name, made.retry] > at
        and not made.is_by_hand
        and not (is_child and _are_beside(origin, made))
    ]


def _is_in_dag(made: Made) -> bool:
    owner = made.place.owner
    while owner is not None:
        if owner.node.type == "DAG":
            return True
        owner = owner.owner
    return False


def _are_beside(one: Made, other: Made) -> bool:
    """Say whether two tasks are in different branches of one fork."""
    mine, its = _branches(one), _branches(other)
    return any(its.get(fork, branch) != branch for fork, branch in mine.items())


def _branches(made: Made) -> dict[str, str]:
    """Return which branch of which fork a task is in: their full names, and the branch's first."""
    found: dict[str, str] = {}
    place, suffix = made.place, made.suffix
    while place.owner is not None:
        owner = place.owner.node
        if owner.type == "DO_WHILE":
            suffix = suffix.rpartition("__")[0]
        elif owner.type in _FORKS:
            found[owner.task_reference_name + suffix] = _first_of(owner, place.node)
        place = place.owner
    return found


def _first_of(fork: WorkflowTask, node: WorkflowTask) -> str:
    for branch in fork.fork_tasks:
        if any(one.task_reference_name == node.task_reference_name for one in branch):
            return branch[0].task_reference_name
    return node.task_reference_name  # a branch of a dynamic fork


def _turn_back(machine: "Machine", lost: list[Made]) -> None:
    """Open the loops and DAGs that lost a task; a loop is in the first pass that did."""
    for holder in machine.made:
        is_holder = holder.node.type in {"DO_WHILE", "DAG"}
        inside = [made for made in lost if _is_inside(holder, made)]
        if not is_holder or not inside or holder.status is TaskStatus.SKIPPED:
            continue
        reopening.open_in_place(machine, holder)
        if holder.node.type == "DO_WHILE":
            holder.iteration = min(_pass_of(holder, made) for made in inside)


def _pass_of(loop: Made, made: Made) -> int:
    """Return in which pass of a loop a task is, however deep; 0 when it is not in it."""
    if loop.node.task_reference_name not in made.place.loops:
        return 0
    if not made.suffix.startswith(loop.suffix + "__"):
        return 0
    return int(made.suffix[len(loop.suffix) + 2 :].partition("__")[0])


# -- going on -------------------------------------------------------------------------------------


def _cut_short(machine: "Machine", name: str) -> list[Made]:
    """Return what failed or was cancelled and is to be tried again, but for one name."""
    for made in machine.latest.values():
        made.is_retried &= made.name == name  # else the attempt behind it is gone
    found = [made for made in reopening.failed_of(machine) if made.name != name]
    return [made for made in found if not _is_let_through(machine, made)]


def _go_on(machine: "Machine", lost: list[Made], failed: list[Made]) -> None:
    if any(_has_been_followed(machine, made) for made in failed):
        raise UncoveredError("rerun-below: does what is behind a sub-workflow wait for it now?")
    machine.look_again()
    names = {made.name for made in lost}
    for made in failed:
        reopening.open_again(machine, made)
    while True:
        reached, missing = _walk(machine)
        if not _take_back(machine, reached) and not _open_holders(machine, names):
            break
    machine.follow_left([])
    for place, suffix, fork in missing:
        before = [one for one in lost if (one.place, one.suffix) == (place, suffix)]
        if before and place.node.task_reference_name not in machine.map.places:
            machine.start(_like(machine, before[0]))  # a branch of a dynamic fork, as it was
            continue
        made = machine.schedule(place.node, suffix, place)
        if made is not None and fork is not None and place.node.type == "JOIN":
            made.joins = tuple(p.node.task_reference_name + suffix for p in fork.branches)


def _has_been_followed(machine: "Machine", made: Made) -> bool:
    """Say whether what is cut short had led on before: a sub-workflow that was revived."""
    behind = machine.map.behind(made.place)
    if behind is None or behind.type in {"JOIN", "EXCLUSIVE_JOIN"}:
        return False
    return behind.task_reference_name + made.suffix in machine.latest


def _is_fork(made: Made) -> bool:
    return made.node.type == "FORK_JOIN_DYNAMIC"


def _is_let_through(machine: "Machine", made: Made) -> bool:
    if made.is_followed:
        return True
    is_failure = made.status is not TaskStatus.CANCELED
    may_retry = machine.policy(made).may_retry(made.status, made.retry)
    return is_failure and not may_retry and (made.node.optional or made.node.permissive)


def _walk(machine: "Machine") -> "tuple[set[str], list[tuple[Place, str, Made | None]]]":
    """Return the names that the run has come to, and those of them that there is no task of."""
    first = machine.map.places[machine.definition.tasks[0].task_reference_name]
    queue: list[tuple[Place, str, Made | None]] = [(first, "", None)]
    reached: set[str] = set()
    missing: list[tuple[Place, str, Made | None]] = []
    while queue:
        place, suffix, fork = queue.pop(0)
        name = place.node.task_reference_name + suffix
        if name in reached:
            continue
        reached.add(name)
        made = machine.latest.get(name)
        if made is None:
            missing.append((place, suffix, fork))
        else:
            queue += _next(machine, made)
    return reached, missing


def _next(machine: "Machine", made: Made) -> "list[tuple[Place, str, Made | None]]":
    node, suffix = made.node, made.suffix
    places = machine.map.places
    found: list[tuple[Place, str, Made | None]] = []
    if node.type == "DO_WHILE" and made.iteration:
        first = places[node.loop_over[0].task_reference_name]
        found.append((first, f"{suffix}__{made.iteration}", None))
    if node.type == "DAG" and made.status is not TaskStatus.SKIPPED:
        names = dag.come_to(machine, made)
        found += [(places[name], suffix, None) for name in names if name + suffix in machine.latest]
    if made.is_open or not made.is_followed or node.type == "TERMINATE":
        return found
    found += [(places[one.task_reference_name], suffix, None) for one in machine.inside(made)]
    found += [(place, suffix, None) for place in made.branches]
    behind = machine.map.behind(made.place)
    if behind is not None and not made.case:
        fork = made if made.branches else None
        found.append((places[behind.task_reference_name], suffix, fork))
    return found


def _take_back(machine: "Machine", reached: set[str]) -> bool:
    """Have what is skipped and comes later be stepped over in its turn; say whether any was."""
    found = [
        made
        for made in machine.made
        if made.status is TaskStatus.SKIPPED
        and made.is_followed
        and made.name not in reached
        and not _is_of_earlier_pass(machine, made)
    ]
    for made in found:
        made.is_followed = made.is_left_out = False
    return bool(found)


def _is_of_earlier_pass(machine: "Machine", made: Made) -> bool:
    loops = [one for one in machine.made if one.node.type == "DO_WHILE"]
    return any(0 < _pass_of(loop, made) < loop.iteration for loop in loops)


def _open_holders(machine: "Machine", names: set[str]) -> bool:
    """Open the containers in which something runs again; say whether any was to be."""
    has_moved = False
    for made in machine.made:
        is_latest = machine.latest.get(made.name) is made
        if made.is_open or made.status is TaskStatus.SKIPPED or not is_latest:
            continue
        if made.node.type.endswith("JOIN") and made.node.type in reopening.CONTAINERS:
            is_due = any(_is_due(machine, name, names) for name in reopening.waited(made))
        elif made.node.type in {"DO_WHILE", "DAG"}:
            is_due = any(_is_inside(made, one) and one.is_open for one in machine.made)
        else:
            continue
        if is_due:
            reopening.open_in_place(machine, made)
            has_moved = True
    return has_moved


def _is_due(machine: "Machine", name: str, lost: set[str]) -> bool:
    """Say whether a JOIN has to wait for a task again."""
    made = machine.latest.get(name)
    if made is None:
        return name in lost
    return made.is_open or (made.status is TaskStatus.SKIPPED and not made.is_followed)


def _is_inside(holder: Made, made: Made) -> bool:
    if holder.node.type == "DO_WHILE":
        return bool(_pass_of(holder, made))
    owner = made.place.owner
    while owner is not None and owner.node is not holder.node:
        owner = owner.owner
    is_same = (made.suffix + "__").startswith(holder.suffix + "__")
    return owner is not None and is_same
