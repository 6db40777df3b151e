"""An attempt at a task, as the reference has it."""

from dataclasses import dataclass, field
from typing import Any

from batuta.model.definition import WorkflowTask
from batuta.model.execution import TaskStatus
from tests.simulation.reference.place import Place


@dataclass(eq=False)
class Made:
    """One attempt that there is."""

    name: str  # with the loops' suffix
    suffix: str
    place: Place
    retry: int
    at_ms: int  # when the first attempt was made
    input: Any
    status: TaskStatus = TaskStatus.SCHEDULED
    output: Any = field(default_factory=dict)
    reason: str = ""
    command: int = 0  # the number of the fact by which the engine made it
    is_followed: bool = False  # what comes behind it has been made
    is_retried: bool = False
    joins: tuple[str, ...] = ()
    iteration: int = 0
    case: str | None = None  # of a switch: which list it took
    ended_at_ms: int = 0
    is_left_out: bool = False  # a node of a DAG that no taken edge leads to
    is_by_hand: bool = False  # an operator skipped it
    is_given: bool = False  # a branch made at run time, its input in place of what made it
    branches: list[Place] = field(default_factory=list)  # of a dynamic fork
    is_due: bool = False  # a DAG all of whose nodes are to be looked at

    @property
    def node(self) -> WorkflowTask:
        """The node of the definition, or of the run's data."""
        return self.place.node

    @property
    def is_open(self) -> bool:
        """Say whether it has not ended."""
        return not self.status.is_terminal

    @property
    def has_been_passed(self) -> bool:
        """Say whether it has ended and the run has come to it."""
        return not self.is_open and (self.is_followed or self.status is not TaskStatus.SKIPPED)
