"""Where each node of a definition stands: what is behind it, and what it is inside of."""

from dataclasses import dataclass, field

from batuta.model.definition import WorkflowTask


@dataclass(frozen=True)
class Place:
    """The node, the node behind it in its list, and the node whose list that is."""

    node: WorkflowTask
    behind: WorkflowTask | None
    owner: "Place | None"
    loops: tuple[str, ...] = ()  # reference names, outermost first
    top: bool = False


@dataclass
class Map:
    """All places of a definition by reference name."""

    places: dict[str, Place] = field(default_factory=dict)

    def add(
        self, tasks: list[WorkflowTask], owner: Place | None = None, loops: tuple[str, ...] = ()
    ) -> None:
        """Enter a list of nodes with all that they hold."""
        for number, node in enumerate(tasks):
            behind = tasks[number + 1] if number + 1 < len(tasks) else None
            place = Place(node, behind, owner, loops, top=owner is None)
            self.places[node.task_reference_name] = place
            for inner in (*node.decision_cases.values(), node.default_case, *node.fork_tasks):
                self.add(inner, place, loops)
            self.add(node.loop_over, place, (*loops, node.task_reference_name))
            for inner_node in node.dag_tasks or []:
                self.add([inner_node], place, loops)  # what is behind it, edges say

    def behind(self, place: Place) -> WorkflowTask | None:
        """Return what runs when a node has ended; None at the end of a branch or of a pass.

        Source: semantics.md c.2, "Successor of a task".
        """
        at: Place | None = place
        while at is not None:
            if at.behind is not None:
                return at.behind
            owner = at.owner
            at = owner if owner is not None and owner.node.type in {"SWITCH", "DECISION"} else None
        return None
