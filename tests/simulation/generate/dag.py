"""Random DAGs: roots, ways that part and meet, edges with conditions and delays."""

import random

from tests.simulation.generate import script
from tests.simulation.generate.leaf import Document, leniently, of

EDGE_SHARE = 0.45  # of the pairs of nodes that have an edge
# Workers fill `pad` in half of their outputs; what has no such field takes the other way.
WHENS = (script.PADDED, script.NOT_PADDED, script.PAD_SOUGHT, script.PAD_SOUGHT)
DELAYS_MS = (1, 500, 2_000, 7_000)


def dag(chance: random.Random, ref: str, nodes: list[Document]) -> Document:
    """Return a DAG of these nodes, which stand in it in any order."""
    names = [node["taskReferenceName"] for node in nodes]
    edges = [
        _edge(chance, source, target)
        for place, target in enumerate(names)
        for source in names[:place]
        if chance.random() < EDGE_SHARE
    ]
    chance.shuffle(nodes)
    chance.shuffle(edges)
    return leniently(chance, of("DAG", ref, {}, dagTasks=nodes, dagEdges=edges))


def _edge(chance: random.Random, source: str, target: str) -> Document:
    edge: Document = {"from": source, "to": target}
    if chance.random() < 0.5:
        edge["when"] = script.THROW if chance.random() < 0.04 else chance.choice(WHENS)
    if chance.random() < 0.25:
        edge["delayMs"] = chance.choice(DELAYS_MS)
    return edge


def without(task: Document, nodes: list[Document]) -> Document:
    """Return a DAG with these of its nodes, and the edges between them; shrinking asks for it."""
    left = {node["taskReferenceName"] for node in nodes}
    edges = [edge for edge in task["dagEdges"] if {edge["from"], edge["to"]} <= left]
    return {**task, "dagTasks": nodes, "dagEdges": edges}
