"""A DAG in the operators of a plain Conductor: FORK_JOIN, JOIN, SWITCH, WAIT, NOOP.

Theory of operation. Each node that no other leads to alone heads a branch of one fork; a node
behind one that leads nowhere else follows it in its branch. A branch begins with a JOIN on the
ends of the branches that lead to it, which may be in other branches: so it waits for these and for
nothing else, and no node has to be there twice. Where a node may be left out a SWITCH asks which of
its edges were taken; a branch that may end inside a SWITCH ends with a NOOP, for others to join.
The task that has the DAG's own reference name comes last and gives its nodes' outputs as `result`.
"""

import re
from collections.abc import Callable
from typing import Any

from batuta.model.error import Fault, InvalidError

Document = dict[str, Any]
SECOND_MS = 1_000
# What the DAG's last task makes of all nodes: those that ran and gave something.
COLLECT = (
    '.nodes | with_entries(select((.value.ran | all(. == "true"))'
    " and .value.output != null and .value.output != {}) | .value = .value.output)"
)
_FAILED = ("FAILED", "FAILED_WITH_TERMINAL_ERROR", "TIMED_OUT")  # and followed all the same
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_DOLLAR = re.compile(r"\$(?=[.\[])")
_STATEMENT = re.compile(r"^\s*(?:if|var|let|const|for|while|switch|try|throw|return|function)\b")


def plain_dag(dag: Document, fresh: Callable[[str], str]) -> tuple[list[Document], list[str]]:
    """Return the tasks that do what a DAG does, and notes on what they do otherwise.

    Args:
        dag: As an author writes it, without faults; nodes that are DAGs themselves stay.
        fresh: Returns a reference name like the one given that nothing else has.

    Raises:
        InvalidError: With each thing that has no plain form, and what to do about it.
    """
    return _Lowering(dag, fresh).run()


class _Lowering:
    """One DAG on its way."""

    def __init__(self, dag: Document, fresh: Callable[[str], str]) -> None:
        self._dag = dag
        self._fresh = fresh
        self._ref = str(dag["taskReferenceName"])
        self._nodes: dict[str, Document] = {n["taskReferenceName"]: n for n in dag["dagTasks"]}
        self._permissive = [name for name, one in self._nodes.items() if one.get("permissive")]
        edges: list[Document] = dag.get("dagEdges") or []
        self._into: dict[str, list[Document]] = {name: [] for name in self._nodes}
        self._out: dict[str, list[Document]] = {name: [] for name in self._nodes}
        for edge in edges:
            self._into[edge["to"]].append(edge)
            self._out[edge["from"]].append(edge)
        self._switches: dict[str, list[str]] = {}  # by node: those that say whether it ran
        self._asked: dict[tuple[str, str], str] = {}  # by edge: the switch that has asked for it
        self._ends: dict[str, str] = {}  # by node: the task that ends its branch
        self._certain: dict[str, bool] = {}
        self._branches: list[list[Document]] = []
        self._notes: list[str] = []
        self._faults: list[Fault] = []

    def run(self) -> tuple[list[Document], list[str]]:
        """Lower it."""
        self._refuse()
        for name in self._in_order():
            if not self._is_chained(name):
                self._branch(name)
        if self._faults:
            raise InvalidError("; ".join(one.message for one in self._faults), self._faults)
        return [*self._forked(), *self._failure(), self._collector()], self._notes

    def _refuse(self) -> None:
        permissive = self._permissive
        if permissive and (self._dag.get("optional") or self._dag.get("permissive")):
            word = "optional" if self._dag.get("optional") else "permissive"
            self._fault(f"it is {word} and has the permissive nodes {permissive}; drop one of both")
        for field in ("startDelay", "asyncComplete", "taskDefinition", "timeoutSeconds"):
            if self._dag.get(field):
                self._notes.append(f"DAG {self._ref!r}: its {field} is left away")

    def _fault(self, message: str) -> None:
        self._faults.append(Fault(self._ref, f"DAG {self._ref!r}: {message}"))

    # -- the graph --------------------------------------------------------------------------------

    def _in_order(self) -> list[str]:
        found: dict[str, None] = {}
        left = dict.fromkeys(self._nodes)
        while left:
            ready = [n for n in left if all(edge["from"] in found for edge in self._into[n])]
            assert ready, "a DAG without faults has no circle"
            for name in ready:
                found[name] = left.pop(name)
        return list(found)

    def _is_certain(self, name: str) -> bool:
        """Say whether a node is run whatever the nodes before it give."""
        if name not in self._certain:
            edges = self._into[name]
            self._certain[name] = not edges or any(
                edge.get("when") is None and self._is_certain(edge["from"]) for edge in edges
            )
        return self._certain[name]

    def _is_chained(self, name: str) -> bool:
        """Say whether a node follows another in its branch: the only way between both."""
        edges = self._into[name]
        return len(edges) == 1 and len(self._out[edges[0]["from"]]) == 1

    # -- branches ---------------------------------------------------------------------------------

    def _branch(self, head: str) -> None:
        """Make the branch of a node, with all that is chained to it."""
        edges = self._into[head]
        branch: list[Document] = []
        if edges:
            ends = [self._arrival(edge) for edge in edges]
            branch.append(self._join(f"{head}_wait", list(dict.fromkeys(ends))))
        if self._is_certain(head):
            self._switches[head] = []
            last = self._follow(branch, head)
        else:
            switch = self._switch(f"{head}_taken", edges)
            self._switches[head] = [switch["taskReferenceName"]]
            branch.append(switch)
            last = self._follow(switch["decisionCases"]["true"], head)
        self._close(branch, last)

    def _follow(self, tasks: list[Document], name: str) -> str:
        """Put a node and those chained to it behind each other; return the last of them."""
        while True:
            tasks.append(self._nodes[name])
            out = self._out[name]
            if len(out) != 1 or not self._is_chained(out[0]["to"]):
                return name
            edge = out[0]
            before = self._switches[name]
            if edge.get("when") is not None:
                switch = self._switch(f"{edge['to']}_taken", [edge], is_run=True)
                tasks.append(switch)
                tasks = switch["decisionCases"]["true"]
                before = [*before, switch["taskReferenceName"]]
            name = edge["to"]
            self._switches[name] = before
            self._delay(tasks, edge)

    def _close(self, branch: list[Document], last: str) -> None:
        """End a branch with a task that is there whatever happens, and that a JOIN may wait for."""
        task = branch[-1]
        # A permissive failure would fail the JOINs of those behind it.
        if task.get("type") == "SWITCH" or task.get("permissive"):
            branch.append(_of("NOOP", self._fresh(f"{last}_done")))
        self._ends[last] = branch[-1]["taskReferenceName"]
        self._branches.append(branch)

    def _arrival(self, edge: Document) -> str:
        """Return what to join for an edge; one with a delay has a branch of its own."""
        source, target = edge["from"], edge["to"]
        end = self._ends[source]
        if not edge.get("delayMs"):
            return end
        branch = [self._join(f"{source}_{target}_wait", [end])]
        if edge.get("when") is None and not self._switches[source]:
            self._delay(branch, edge)
        else:
            switch = self._switch(f"{source}_{target}_taken", [edge])
            self._asked[source, target] = switch["taskReferenceName"]
            self._delay(switch["decisionCases"]["true"], edge)
            branch += [switch, _of("NOOP", self._fresh(f"{source}_{target}_done"))]
        self._branches.append(branch)
        return str(branch[-1]["taskReferenceName"])

    # -- tasks ------------------------------------------------------------------------------------

    def _join(self, name: str, ends: list[str]) -> Document:
        return _of("JOIN", self._fresh(name), joinOn=ends)

    def _delay(self, tasks: list[Document], edge: Document) -> None:
        delay_ms = edge.get("delayMs") or 0
        if not delay_ms:
            return
        seconds = -(-delay_ms // SECOND_MS)
        if delay_ms % SECOND_MS:
            way = f"{edge['from']!r} to {edge['to']!r}"
            self._notes.append(
                f"DAG {self._ref!r}: {delay_ms} ms from {way} become {seconds} s, as a WAIT has it"
            )
        wait = _of("WAIT", self._fresh(f"{edge['to']}_delay"))
        tasks.append({**wait, "inputParameters": {"duration": f"{seconds} seconds"}})

    def _switch(self, name: str, edges: list[Document], *, is_run: bool = False) -> Document:
        """Return a SWITCH whose case `true` is taken when one of the edges is.

        Args:
            is_run: The node that they come from is known to have run.
        """
        given: Document = {}
        ways = [self._way(edge, given, is_run=is_run) for edge in edges]
        return _switch_of(self._fresh(name), given, " || ".join(ways))

    def _way(self, edge: Document, given: Document, *, is_run: bool) -> str:
        """Return the condition that an edge is taken, and give what it reads."""
        source = edge["from"]
        asked = self._asked.get((source, edge["to"]))
        switches = [asked] if asked else self._switches[source]
        parts = [] if is_run else _are_taken(switches, given)
        when = edge.get("when")
        if when is not None and not asked:
            key = f"output{len(given)}"
            given[key] = f"${{{source}.output}}"
            parts.append(self._condition(edge, str(when).strip(), f"$.{key}"))
        way = " && ".join(parts) or "true"
        return f"({way})" if len(parts) > 1 else way

    def _condition(self, edge: Document, when: str, value: str) -> str:
        """Return an edge's condition with another value as `$`."""
        when = when.removesuffix(";")
        bare = _STRING.sub("", when)
        if _STATEMENT.search(bare) or _has_bare_semicolon(bare):
            self._fault(
                f"the condition from {edge['from']!r} to {edge['to']!r} is more than one expression"
                "; write it as one, with ?: for if"
            )
        is_simple = bare.count("$") == len(_DOLLAR.findall(bare)) and not re.search(r"=>|`|/", bare)
        if not is_simple:
            return f"!!(function ($) {{ return ({when}); }})({value})"
        strings = iter(_STRING.findall(when))
        moved = [_DOLLAR.sub(lambda _: value, part) for part in _STRING.split(when)]
        return "!!(" + "".join(part + next(strings, "") for part in moved) + ")"

    def _forked(self) -> list[Document]:
        if len(self._branches) == 1:
            return self._branches[0]
        fork, join = self._fresh(f"{self._ref}_fork"), self._fresh(f"{self._ref}_join")
        ends = [branch[-1]["taskReferenceName"] for branch in self._branches]
        return [_of("FORK_JOIN", fork, forkTasks=self._branches), _of("JOIN", join, joinOn=ends)]

    def _failure(self) -> list[Document]:
        """Return what ends the run when a permissive node has failed, as a DAG does at its end."""
        if not self._permissive:
            return []
        given: Document = {}
        ways = []
        for name in self._permissive:
            parts = _are_taken(self._switches[name], given)
            key = f"status{len(given)}"
            given[key] = f"${{{name}.status}}"
            words = " || ".join(f"$.{key} == '{word}'" for word in _FAILED)
            ways.append(f"({' && '.join([*parts, f'({words})'])})")
        reason = f"a node of {self._ref} failed: {' or '.join(self._permissive)}"
        end = {"terminationStatus": "FAILED", "terminationReason": reason}
        stop = _of("TERMINATE", self._fresh(f"{self._ref}_fails"), inputParameters=end)
        found = _switch_of(self._fresh(f"{self._ref}_failed"), given, " || ".join(ways))
        found["decisionCases"]["true"].append(stop)
        return [found]

    def _collector(self) -> Document:
        nodes = {
            name: {
                "ran": [f"${{{one}.output.selectedCase}}" for one in self._switches[name]],
                "output": f"${{{name}.output}}",
            }
            for name in self._nodes
        }
        given = {**(self._dag.get("inputParameters") or {}), "nodes": nodes}
        task = _of("JSON_JQ_TRANSFORM", self._ref)
        return {**task, "inputParameters": {**given, "queryExpression": COLLECT}}


def _are_taken(switches: list[str], given: Document) -> list[str]:
    """Return conditions that each of some SWITCHes took its case, and give what they read."""
    parts = []
    for switch in switches:
        key = f"ran{len(given)}"
        given[key] = f"${{{switch}.output.selectedCase}}"
        parts.append(f"$.{key} == 'true'")
    return parts


def _switch_of(ref: str, given: Document, condition: str) -> Document:
    """Return a SWITCH with the case `true`, which is still empty."""
    return {
        **_of("SWITCH", ref),
        "inputParameters": given,
        "evaluatorType": "javascript",
        "expression": condition,
        "decisionCases": {"true": []},
        "defaultCase": [],
    }


def _has_bare_semicolon(text: str) -> bool:
    """Say whether a text without strings has a `;` outside of all brackets."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == ";" and depth == 0:
            return True
    return False


def _of(kind: str, ref: str, **fields: Any) -> Document:
    return {"name": ref, "taskReferenceName": ref, "type": kind, **fields}
