"""What opens an ended run again: restart, retry, rerun, and the revival of a parent.

Source: semantics.md f, and what docs/reference/compatibility.md says of reruns.
"""

from typing import TYPE_CHECKING

from batuta.model.execution import TaskStatus, WorkflowStatus
from tests.simulation.reference.fact import UncoveredError

if TYPE_CHECKING:
    from tests.simulation.reference.machine import Machine
    from tests.simulation.reference.made import Made

CONTAINERS = frozenset({"JOIN", "EXCLUSIVE_JOIN", "DO_WHILE", "DAG"})
_RETRIED = frozenset(
    {
        TaskStatus.FAILED,
        TaskStatus.FAILED_WITH_TERMINAL_ERROR,
        TaskStatus.TIMED_OUT,
        TaskStatus.CANCELED,
    }
)


def restart(machine: "Machine") -> None:
    """Begin anew; variables stay as they were. A rerun of the whole run is the same."""
    machine.made.clear()
    machine.latest.clear()
    machine.newest.clear()
    machine.forks.clear()
    machine.has_other_input = False
    machine.output = None
    machine.status = WorkflowStatus.RUNNING
    machine.schedule(machine.definition.tasks[0], "")


def retry(machine: "Machine") -> None:
    """Try again what failed; containers go on where they were."""
    if not machine.status.is_terminal:
        return  # what a parent asked of a child that goes on already
    failed = failed_of(machine)
    if not failed and machine.status is not WorkflowStatus.TIMED_OUT:
        return  # asked by a parent, who is told the end once more
    machine.status = WorkflowStatus.RUNNING
    machine.look_again()
    machine.follow_left(failed)
    for made in failed:
        if made.name in machine.fact.reopened:
            open_in_place(machine, made)
        else:
            open_again(machine, made)


def revive(machine: "Machine") -> None:
    """Go on with a sub-workflow that runs again: which one, or none, is the fact."""
    child = revived(machine)
    if child is None:
        return  # superseded, optional, of an earlier pass, or it goes on already
    others = [made for made in failed_of(machine) if made is not child]
    has_ended = machine.status.is_terminal
    open_in_place(machine, child)
    if has_ended:
        machine.status = WorkflowStatus.RUNNING
        for made in others:
            is_child = made.node.type == "SUB_WORKFLOW"
            is_cut_short = made.status is TaskStatus.CANCELED or is_child
            if is_cut_short or made.node.type in CONTAINERS:
                open_again(machine, made)
    _open_around(machine, child)
    machine.look_again()
    machine.follow_left([])  # also what had failed of itself: it ends the run again


def revived(machine: "Machine") -> "Made | None":
    """Return the sub-workflow that runs again; None when the run has no need of it."""
    names = [n for n in machine.fact.reopened if machine.latest[n].node.type == "SUB_WORKFLOW"]
    if len(names) != 1 and machine.fact.reopened:
        raise UncoveredError("revive: of several sub-workflows which one?")
    return machine.latest[names[0]] if names else None


def failed_of(machine: "Machine") -> "list[Made]":
    """Return the newest attempts that ended without success."""
    return [
        made
        for made in machine.made
        if machine.latest[made.name] is made and made.status in _RETRIED and not made.is_retried
    ]


def open_again(machine: "Machine", made: "Made") -> None:
    """Open what the run's end cut short: containers in place, all else by another attempt."""
    if made.node.type in CONTAINERS:
        open_in_place(machine, made)
        return
    made.is_retried = True
    made.at_ms = machine.fact.at_ms  # its total time starts anew
    machine.begin(made.place, made.suffix, made)


def open_in_place(machine: "Machine", made: "Made") -> None:
    """Have a task go on as the attempt it is."""
    made.status, made.output = TaskStatus.IN_PROGRESS, {}
    made.is_followed = False
    made.at_ms = machine.fact.at_ms


def _open_around(machine: "Machine", child: "Made") -> None:
    """Open the loops and DAGs that a task is in, and the JOINs that wait for what is open."""
    owner, suffix = child.place.owner, child.suffix
    while owner is not None:
        if owner.node.type == "DO_WHILE":
            suffix = suffix.rpartition("__")[0]
        holder = machine.latest.get(owner.node.task_reference_name + suffix)
        is_holder = owner.node.type in {"DO_WHILE", "DAG"}
        if is_holder and holder is not None and not holder.is_open:
            open_in_place(machine, holder)
        owner = owner.owner
    has_moved = True
    while has_moved:
        has_moved = False
        for join in machine.made:
            is_join = join.node.type.endswith("JOIN") and join.status is not TaskStatus.SKIPPED
            if not is_join or join.is_open or join.is_retried:
                continue
            found = [machine.latest.get(name) for name in waited(join)]
            if any(one is not None and one.is_open for one in found):
                open_in_place(machine, join)
                has_moved = True


def waited(join: "Made") -> tuple[str, ...]:
    """Return the names that a JOIN stands for; an exclusive one may stand for its defaults."""
    names = (*join.node.join_on, *join.node.default_exclusive_join_task)
    return join.joins or tuple(name + join.suffix for name in names)
