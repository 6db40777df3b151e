"""A slow interpreter of definitions, for I20: what must have become of a run by now.

Written from contract/semantics.md and the deviations that docs/reference/compatibility.md names,
not from the engine, of which it imports the model only. No concurrency, no stores, no queues, no
time but what a fact says: given a definition, an input and the facts in their order it says which
attempts there are, how each stands and what it got and gave, and how the run stands.

It covers every operator that random definitions use, attempts and their limits, optional and
permissive tasks, pause, resume, terminate, skip, restart, retry, reruns, revivals by a child and
the run's own time. Where nothing is written of what follows, ``UncoveredError`` is raised.
"""

from collections import deque
from typing import Any

from msgspec.structs import replace

from batuta.model.definition import WorkflowTask
from batuta.model.execution import TaskStatus, WorkflowStatus
from tests.simulation.reference import dag, reopening, rerun, template
from tests.simulation.reference.fact import Ending, Fact, Registered, UncoveredError
from tests.simulation.reference.made import Made
from tests.simulation.reference.place import Map, Place
from tests.simulation.reference.policy import Policy, policy_of
from tests.simulation.reference.reopening import CONTAINERS


class Machine:
    """One run as it must be."""

    def __init__(self, registered: Registered, given: Any, correlation_id: str | None) -> None:
        self._define(registered)
        filled = isinstance(given, dict) and given
        self.input = {**self.definition.input_template, **given} if filled else given
        self.variables: dict[str, Any] = dict(self.definition.variables)
        self.output: Any = None
        self.may_give: list[Any] = []  # what the run's output may be
        self.status = WorkflowStatus.RUNNING
        self.made: list[Made] = []
        self.latest: dict[str, Made] = {}
        self.newest: dict[str, Made] = {}  # by the definition's reference name
        self.fact = Fact("", 0)
        self.commands = 0
        self.has_other_input = False  # than it had when it began
        self.is_delayed = False  # what begins now is another attempt, which nobody asked for
        # Dynamic ones; whether they were the first, None for those that have failed.
        self.forks: dict[str, bool | None] = {}
        self.correlation_id = correlation_id
        self._ended: deque[Made] = deque()

    def _define(self, registered: Registered) -> None:
        self.definition = registered.workflow
        self._task_defs = registered.task_defs
        self.map = Map()
        self.map.add(self.definition.tasks)

    # -- facts ----------------------------------------------------------------------------------

    def take(self, fact: Fact) -> None:
        """Move the run on by what happened.

        Raises:
            UncoveredError: As said above.
        """
        self.fact = fact
        self.commands += 1
        self._begin_with(fact)
        for attempt, ending in fact.endings.items():
            self._end(self.find(*attempt), ending)
        for made in list(self.made):  # made before the engine came to it: it had stopped in between
            if made.is_open and (made.name, made.retry) in fact.at_once and self._is_leaf(made):
                self._end(made, fact.at_once[made.name, made.retry])
        for attempt in fact.due:
            self._start_late(self.find(*attempt))
        self._settle()

    def _begin_with(self, fact: Fact) -> None:
        if fact.kind == "start":
            self.schedule(self.definition.tasks[0], "")
        elif fact.kind == "pause":
            self.status = WorkflowStatus.PAUSED
        elif fact.kind == "resume":
            self.status = WorkflowStatus.RUNNING
            self._ended.extend(m for m in self.made if self._is_left(m))
            self.look_again()
        elif fact.kind == "terminate":
            self._terminate(fact)
        elif fact.kind == "restart":
            reopening.restart(self)
        elif fact.kind == "retry":
            reopening.retry(self)
        elif fact.kind == "rerun":
            rerun.rerun(self)
        elif fact.kind == "revive":
            (rerun.below if fact.is_below else reopening.revive)(self)
        elif fact.kind == "skip":
            for name, output in fact.skipped.items():
                self._skip(name, output)
        elif fact.kind not in _MOVING:
            raise UncoveredError(fact.kind)
        elif fact.is_over:
            self.finish(WorkflowStatus.TIMED_OUT)
        elif fact.kind == "decide":
            self.look_again()

    def find(self, name: str, retry: int) -> Made:
        """Return an attempt that there is."""
        for made in self.made:
            if (made.name, made.retry) == (name, retry):
                return made
        raise UncoveredError(f"{name} {retry} is not there")

    def _terminate(self, fact: Fact) -> None:
        if not self.status.is_terminal:
            self.finish(WorkflowStatus.TERMINATED)
        elif fact.is_over:  # asked for by somebody, and not by a parent that ends
            self.status = WorkflowStatus.TERMINATED

    def redefine(self, registered: Registered) -> None:
        """Go on by another definition; a restart follows."""
        self._define(registered)

    def look_again(self) -> None:
        """Have all nodes of the DAGs looked at, as when a run goes on."""
        for made in self.made:
            made.is_due = made.node.type == "DAG"

    def follow_left(self, failed: list[Made]) -> None:
        """Have what has ended and was not followed be followed now, but for what failed."""
        self._ended.extend(m for m in self.made if m not in failed and self._is_left(m))

    def _is_left(self, made: Made) -> bool:
        is_passed = made.is_followed or made.is_retried or made.status is TaskStatus.SKIPPED
        return made.status.is_terminal and not is_passed

    @staticmethod
    def _is_leaf(made: Made) -> bool:
        from tests.simulation.reference.operators import BEGIN

        return made.node.type not in BEGIN or made.node.type == "DYNAMIC"

    def _skip(self, name: str, output: Any) -> None:
        bare, mark, rest = name.partition("__")
        place = self.map.places[bare]
        made = self.make(place, mark + rest, TaskStatus.SKIPPED)
        made.output, made.is_by_hand = output, True
        if place.node.type == "FORK_JOIN_DYNAMIC":
            self.forks.setdefault(bare, not self.forks)

    def _start_late(self, made: Made) -> None:
        from tests.simulation.reference import operators

        if made.is_open and made.node.type == "DAG":
            made.is_due = True
        elif made.is_open:
            operators.run_script(self, made)

    def _end(self, made: Made, ending: Ending) -> None:
        made.output, made.reason = ending.output, ending.reason
        self.end(made, ending.status)
        is_own_time = self.fact.kind in {"timer", "expire"}
        if is_own_time and self.policy(made).ends_run(made.status, made.reason):
            self.finish(WorkflowStatus.TIMED_OUT)  # also when it is paused

    # -- what operators use -----------------------------------------------------------------------

    def end(self, made: Made, status: TaskStatus) -> None:
        """End an attempt; what follows comes in its turn."""
        made.status, made.ended_at_ms = status, self.fact.at_ms
        self._ended.append(made)

    def schedule(self, node: WorkflowTask, suffix: str, place: Place | None = None) -> Made | None:
        """Make the first attempt at a node, unless there is one; step over a skipped one."""
        known = self.latest.get(node.task_reference_name + suffix)
        if known is None:
            return self.begin(place or self.map.places[node.task_reference_name], suffix, None)
        if known.status is TaskStatus.SKIPPED and not known.is_followed:
            self._ended.appendleft(known)
        return None

    def make(self, place: Place, suffix: str, status: TaskStatus) -> Made:
        """Make a task that nobody does."""
        name = place.node.task_reference_name + suffix
        made = Made(name, suffix, place, 0, self.fact.at_ms, {}, status)
        made.ended_at_ms, made.command = self.fact.at_ms, self.commands
        self._keep(made)
        return made

    def policy(self, made: Made) -> Policy:
        """Return how its attempts are limited."""
        node = made.node
        if node.type == "DYNAMIC":  # the real task's definition counts: compatibility.md 41
            name = made.input.get(node.dynamic_task_name_param or "")
            node = replace(node, name=name, type="SIMPLE") if name else node
        return policy_of(node, self._task_defs)

    def resolve(self, value: Any) -> Any:
        """Return a template's value as the run is now."""
        return template.resolve(value, self._look_up)

    def finish(self, status: WorkflowStatus, output: Any = None) -> None:
        """End the run; what is open is cancelled."""
        self.status = status
        for made in self.made:
            if made.is_open:
                made.status = TaskStatus.CANCELED
        if output is not None:
            self.output = output
        elif self.definition.output_parameters:
            self.output = self.resolve(self.definition.output_parameters)
        else:
            self.output = self.made[-1].output if self.made else {}
            # Which of those that one command made, in branches beside each other, comes last,
            # is said nowhere.
            last = max((made.command for made in self.made), default=0)
            self.may_give = [made.output for made in self.made if made.command == last]
            return
        self.may_give = [self.output]

    # -- settling ---------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Go on until nothing follows at once. Source: semantics.md c.2."""
        from tests.simulation.reference import operators

        while self.status is WorkflowStatus.RUNNING:
            if self._ended:
                made = self._ended.popleft()
                if not (made.is_followed or made.is_retried):
                    self._follow(made)
                continue
            if not any(self._has_moved(made, operators) for made in list(self.made)):
                if any(made.is_open and made.node.type not in CONTAINERS for made in self.made):
                    return
                if any(made.is_open and dag.waits(self, made) for made in self.made):
                    return
                if not any(made.is_open for made in self.made):
                    self._complete()
                    return
                operators.fail_stuck(self)
        self._ended.clear()

    def _has_moved(self, made: Made, operators: Any) -> bool:
        if not made.is_open or made.node.type not in CONTAINERS or self._ended:
            return False
        return bool(operators.CHECKS[made.node.type](self, made))

    def _follow(self, made: Made) -> None:
        node = made.node
        if not made.status.is_successful and not self._is_let_through(made):
            return
        made.is_followed = True
        if node.type == "TERMINATE" and made.status is TaskStatus.COMPLETED:
            self.finish(WorkflowStatus(made.input["terminationStatus"]), made.output)
            return
        for inner in self.inside(made):
            self.schedule(inner, made.suffix)
        if made.case:
            return
        dag.look_behind(self, made)
        behind = self.map.behind(made.place)
        if behind is not None:
            self.schedule(behind, made.suffix)

    def inside(self, made: Made) -> list[WorkflowTask]:
        """Return what a task that has ended begins in itself: branches, a case."""
        if made.status is TaskStatus.SKIPPED or not made.status.is_successful:
            return []
        if made.node.type == "FORK_JOIN":
            return [branch[0] for branch in made.node.fork_tasks if branch]
        if made.case:
            cases = made.node.decision_cases
            return [cases.get(made.case, made.node.default_case)[0]]
        return []

    def _is_let_through(self, made: Made) -> bool:
        """Deal with a failure: another attempt, or the run's end, or it counts as ended."""
        policy = self.policy(made)
        is_over = policy.is_total_over(self.fact.at_ms - made.at_ms)
        may_retry = policy.may_retry(made.status, made.retry) and not is_over
        if may_retry:
            made.is_retried = self.is_delayed = True
            self.begin(made.place, made.suffix, made)
            self.is_delayed = False
            return False
        if made.node.optional:
            made.status = TaskStatus.COMPLETED_WITH_ERRORS
            return True
        if made.node.permissive:
            return True
        self.finish(_RUN_STATUS.get(made.status, WorkflowStatus.FAILED))
        return False

    def begin(self, place: Place, suffix: str, before: Made | None) -> Made:
        """Make an attempt at a node, the first one or the one behind another."""
        node = place.node
        name = node.task_reference_name + suffix
        made = Made(name, suffix, place, before.retry + 1 if before else 0, self.fact.at_ms, {})
        if before is not None:
            made.at_ms = before.at_ms
            self._check_given(before)
        made.input = self.input_of(node)
        self.start(made)
        return made

    def start(self, made: Made) -> None:
        """Have an attempt be there, and let it do what it does at once."""
        from tests.simulation.reference import operators

        node, made.command = made.node, self.commands
        self._keep(made)
        ending = self.fact.at_once.get((made.name, made.retry))
        begin = operators.BEGIN.get(node.type)
        if begin is not None:
            begin(self, made)
        elif ending is not None:
            self._end(made, ending)
        elif node.type in {"EVENT", "START_WORKFLOW"} and self._may_be_dropped(made.place):
            raise UncoveredError("dropped: its end may have gone with its pass")

    def _check_given(self, before: Made) -> None:
        """Refuse to say whether what a branch was given is given to another attempt too."""
        is_branch = before.place.node.task_reference_name not in self.map.places
        is_bare = is_branch and not before.node.input_parameters
        if before.is_given or (is_bare and self.has_other_input):
            raise UncoveredError("rerun-input: is a branch tried again with what it was given?")

    def may_be_dropped(self, name: str) -> bool:
        """Say whether a task of this full name may be dropped with the pass it is of."""
        return any(m.name == name and self._may_be_dropped(m.place) for m in self.made)

    def _may_be_dropped(self, place: Place) -> bool:
        """Say whether a pass that a task is of may be over and dropped within one command."""
        around = [self.map.places[name].node for name in place.loops]
        return any("keepLastN" in node.input_parameters for node in around)

    def _keep(self, made: Made) -> None:
        self.made.append(made)
        self.latest[made.name] = made
        self.newest[made.node.task_reference_name] = made

    def forget(self, made: Made) -> None:
        """Have an attempt not be there any more; its names mean what is left of them."""
        self.made.remove(made)
        name, bare = made.name, made.node.task_reference_name
        _fall_back(self.latest, name, [one for one in self.made if one.name == name])
        left = [one for one in self.made if one.node.task_reference_name == bare]
        _fall_back(self.newest, bare, left)

    def input_of(self, node: WorkflowTask) -> Any:
        """Return what a node's task is given now."""
        found = self.resolve(node.input_parameters)
        task_def = self._task_defs.get(node.name)
        if task_def is not None:
            for key, value in task_def.input_template.items():
                if found.get(key) is None:
                    found[key] = self.resolve(value)
        return found

    def _complete(self) -> None:
        lenient = [m for m in self.latest.values() if m.node.permissive and not m.node.optional]
        failed = [m for m in lenient if m.status.is_terminal and not m.status.is_successful]
        is_failed = any(not m.place.loops for m in failed)
        if failed and not is_failed:
            raise UncoveredError("permissive: its loop was let through, does the run fail?")
        self.finish(WorkflowStatus.FAILED if is_failed else WorkflowStatus.COMPLETED)

    def _look_up(self, path: str) -> Any:
        root, _, rest = path.partition(".")
        if root == "workflow":
            known = {
                "input": self.input,
                "variables": self.variables,
                "correlationId": self.correlation_id,
            }
            return template.step(known, rest)
        made = self.newest.get(root)
        if made is None:
            return None
        return template.step({"output": made.output, "input": made.input}, rest)


def _fall_back(known: dict[str, Made], name: str, left: list[Made]) -> None:
    """Have a name mean the newest of what is left of it."""
    known.pop(name, None)
    if left:
        known[name] = left[-1]


_MOVING = frozenset(
    {"update", "update_reference", "timer", "expire", "child_ended", "log", "decide"}
    | {"reset_callbacks"}
)
_RUN_STATUS = {
    TaskStatus.TIMED_OUT: WorkflowStatus.TIMED_OUT,
    TaskStatus.CANCELED: WorkflowStatus.TERMINATED,
}
