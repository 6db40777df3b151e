"""Writes one random definition: sequences of tasks of any type, nested."""

import random
from typing import Any

from tests.simulation.generate import family, leaf, script
from tests.simulation.generate.dag import dag, without
from tests.simulation.generate.leaf import Document, N, of

DEPTH_MAX = 4
NESTED_TASKS = 4  # that the smallest fork with its join has
_LEAVES = {
    "s": (leaf.simple, 8),
    "u": (leaf.user_type, 1),
    "h": (leaf.remote, 1),
    "w": (leaf.wait, 2),
    "m": (leaf.human, 1),
    "n": (leaf.noop, 1),
    "v": (leaf.variable, 1),
    "p": (leaf.event, 1),
    "i": (leaf.inline, 1),
    "a": (leaf.lambda_, 1),
    "q": (leaf.jq, 1),
    "y": (leaf.dynamic, 1),
}
# Those without a task after them that could be waited for by name.
_NOT_LAST = frozenset({"SWITCH", "DECISION"})


class Writer:
    """Writes one definition; reference names count up.

    Args:
        children: Registered definitions that it may start.
        shape: See ``Lean.shape``.
        tasks_max: About how many nodes it has at most; 0 for as many as come.
    """

    def __init__(
        self, chance: random.Random, children: list[str], shape: str = "", tasks_max: int = 0
    ) -> None:
        self._chance = chance
        self._children = children
        self._shape = shape
        self._tasks_max = tasks_max
        self._count = 0
        self._prefix = ""

    def sequence(self, depth: int) -> list[Document]:
        """Return one to four tasks; the last is one that a JOIN may wait for."""
        tasks: list[Document] = []
        for _ in range(self._chance.randint(1, max(4 - depth + 1, 1))):
            tasks += self._some(depth)
            if self._is_full():
                break
        if tasks[-1]["type"] in _NOT_LAST:
            tasks.append(leaf.simple(self._chance, self._ref("s")))
        return tasks

    def _is_full(self) -> bool:
        return bool(self._tasks_max) and self._count >= self._tasks_max - NESTED_TASKS

    def _some(self, depth: int) -> list[Document]:
        weights = {f"leaf {kind}": weight for kind, (_, weight) in _LEAVES.items()}
        if depth < DEPTH_MAX and not self._is_full():
            nested = {"fork": 4, "switch": 3, "decision": 2, "loop": 3, "exclusive": 1, "dag": 3}
            weights |= {kind: weight * (2 if depth == 1 else 1) for kind, weight in nested.items()}
            weights["inline_child"] = 1
        weights["dynamic_fork"] = 3
        if self._children:
            weights |= {"child": 3, "other": 1}
        if self._shape == "plain":
            weights = {kind: n for kind, n in weights.items() if kind not in {"other", "child"}}
        kinds = list(weights)
        [kind] = self._chance.choices(kinds, [weights[kind] for kind in kinds])
        if kind.startswith("leaf "):
            letter = kind.removeprefix("leaf ")
            return [_LEAVES[letter][0](self._chance, self._ref(letter))]
        made: list[Document] = getattr(self, "_" + kind)(depth)
        return made

    def _ref(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}{kind}{self._count}"

    def _fork(self, depth: int) -> list[Document]:
        fork, join = self._ref("f"), self._ref("j")
        branches = [self.sequence(depth + 1) for _ in range(self._chance.randint(2, 3))]
        ends = [branch[-1]["taskReferenceName"] for branch in branches]
        if self._chance.random() < 0.15:
            ends = ends[:-1]  # nobody waits for the last one
        made = of("JOIN", join, {}, joinOn=ends)
        if self._chance.random() < 0.1:
            made["optional"] = True
        return [of("FORK_JOIN", fork, {}, forkTasks=branches), made]

    def _exclusive(self, depth: int) -> list[Document]:
        """A switch whose cases meet in an EXCLUSIVE_JOIN."""
        [switch] = self._switch(depth)
        for case in switch["decisionCases"].values():
            case.extend([] if case else [leaf.noop(self._chance, self._ref("n"))])
        ends = [case[-1]["taskReferenceName"] for case in switch["decisionCases"].values()]
        default = [switch["defaultCase"][-1]["taskReferenceName"]] if switch["defaultCase"] else []
        ref = self._ref("e")
        join = of("EXCLUSIVE_JOIN", ref, {}, joinOn=ends, defaultExclusiveJoinTask=default)
        # One that waits for a case that nobody took would wait for ever.
        if not default:
            switch["defaultCase"] = [leaf.noop(self._chance, self._ref("n"))]
            join["defaultExclusiveJoinTask"] = [switch["defaultCase"][0]["taskReferenceName"]]
        return [switch, join]

    def _cases(self, depth: int) -> Document:
        cases = {str(n): self.sequence(depth + 1) for n in range(self._chance.randint(1, 2))}
        if self._chance.random() < 0.2:
            cases["2"] = [leaf.terminate(self._chance, self._ref("t"))]
        elif self._chance.random() < 0.1:
            cases["2"] = []
        return cases

    def _default(self, depth: int) -> list[Document]:
        return self.sequence(depth + 1) if self._chance.random() < 0.5 else []

    def _switch(self, depth: int) -> list[Document]:
        cases, default = self._cases(depth), self._default(depth)
        task = of("SWITCH", self._ref("x"), {"which": N}, decisionCases=cases, defaultCase=default)
        task |= {"evaluatorType": "value-param", "expression": "which"}
        if self._chance.random() < 0.3:
            # Not simple on purpose: it goes to the sandbox, as a need of the decision.
            task |= {"evaluatorType": "javascript", "expression": script.CASE}
        return [task]

    def _decision(self, depth: int) -> list[Document]:
        cases, default = self._cases(depth), self._default(depth)
        task = of(
            "DECISION", self._ref("d"), {"which": N}, decisionCases=cases, defaultCase=default
        )
        task["caseValueParam"] = "which"
        if self._chance.random() < 0.3:
            del task["caseValueParam"]
            task["caseExpression"] = script.CASE
        return [task]

    def _loop(self, depth: int) -> list[Document]:
        ref = self._ref("l")
        passes = self._chance.randint(1, 3)
        body = self.sequence(depth + 1)
        if depth + 1 < DEPTH_MAX and self._chance.random() < 0.4:
            # What follows a JOIN inside a pass belongs to the pass.
            body = self._fork(depth + 1) + body
        inputs: Document = {}
        fields: Document = {"loopOver": body}
        fields["loopCondition"] = (
            script.fewer_passes(ref, passes)
            if self._chance.random() < 0.2
            else f"if ($.{ref}['iteration'] < {passes}) {{ true; }} else {{ false; }}"
        )
        if self._chance.random() < 0.25:
            fields["items"] = family.ITEMS
        elif self._chance.random() < 0.1:
            inputs["_items"] = ["a", "b"]
        if self._chance.random() < 0.25:
            inputs["keepLastN"] = self._chance.choice([1, 2])
        return [leaf.leniently(self._chance, of("DO_WHILE", ref, inputs, **fields))]

    def _dag(self, depth: int) -> list[Document]:
        ref = self._ref("k")
        nodes = [self._node(depth + 1) for _ in range(self._chance.randint(1, 6))]
        return [dag(self._chance, ref, nodes)]

    def _node(self, depth: int) -> Document:
        """One task that stands for all that is in it: a DAG has no forks and switches."""
        while True:
            made = self._some(depth)
            if len(made) == 1 and made[0]["type"] not in _NOT_LAST:
                return made[0]

    def _child(self, _depth: int) -> list[Document]:
        return [family.child(self._chance, self._ref("c"), self._children)]

    def _inline_child(self, depth: int) -> list[Document]:
        ref = self._ref("b")
        inner = Writer(self._chance, [], self._shape, self._tasks_max and NESTED_TASKS)
        return [family.inline_child(self._chance, ref, inner.sequence(max(depth + 1, 3)))]

    def _other(self, _depth: int) -> list[Document]:
        return [family.start_other(self._chance, self._ref("o"), self._children)]

    def _dynamic_fork(self, _depth: int) -> list[Document]:
        fork, join = self._ref("g"), self._ref("j")
        return family.dynamic_fork(self._chance, fork, join, self._children)


def drop(tasks: list[Document], names: frozenset[str]) -> list[Document]:
    """Return tasks without those of the names, at any depth; shrinking asks for it.

    A fork goes with its JOIN, and nothing that would become empty is emptied.
    """
    kept: list[Document] = []
    for place, task in enumerate(tasks):
        behind = tasks[place - 1] if place else {}
        is_behind_fork = task["type"] == "JOIN" and behind.get("taskReferenceName") in names
        if task["taskReferenceName"] not in names and not is_behind_fork:
            kept.append(_dropped_inside(task, names))
    return kept or [_dropped_inside(task, names) for task in tasks]


def names_of(tasks: list[Document]) -> set[str]:
    """Return the reference names of tasks, at any depth."""
    found = set()
    for task in tasks:
        found.add(task["taskReferenceName"])
        lists = [*task.get("forkTasks", []), *task.get("decisionCases", {}).values()]
        lists += [task.get(key, []) for key in ("loopOver", "defaultCase", "dagTasks")]
        for inner in lists:
            found |= names_of(inner)
    return found


def _dropped_inside(task: Document, names: frozenset[str]) -> Document:
    found: dict[str, Any] = dict(task)
    if "forkTasks" in found:
        found["forkTasks"] = [drop(branch, names) for branch in found["forkTasks"]]
    for key in ("loopOver", "defaultCase"):
        if found.get(key):
            found[key] = drop(found[key], names)
    if "dagTasks" in found:
        found = without(found, drop(found["dagTasks"], names))
    if "decisionCases" in found:
        cases = found["decisionCases"].items()
        found["decisionCases"] = {case: drop(inner, names) for case, inner in cases}
    return found
