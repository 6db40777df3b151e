"""All planted bugs by name: each must be caught, or an invariant is missing."""

import contextlib
from collections.abc import Callable, Iterator

from tests.simulation.plants.dag import DAG_PLANTS
from tests.simulation.plants.engine import ENGINE_PLANTS, Patch
from tests.simulation.plants.operator import OPERATOR_PLANTS
from tests.simulation.plants.reader import READER_PLANTS
from tests.simulation.world.plan import Lean

PLANTS: dict[str, Callable[[], Patch]] = {
    plant.__name__: plant
    for plant in (*ENGINE_PLANTS, *OPERATOR_PLANTS, *READER_PLANTS, *DAG_PLANTS)
}


# What some bugs need to show soon: faults of one kind, or a second node.
LEANS = {
    "no_version_check": Lean(node_count=2),
    "lease_not_compared": Lean(
        {"": 0.0, "worker.beat": 8.0, "rpc.abandon": 1.0}, node_count=2, scale="long"
    ),
    "empty_case_takes_the_default": Lean(scale="long"),
    "pins_kept": Lean(scale="busy"),
    "skipped_left_for_later": Lean(scale="busy", node_count=2),
    "permissive_failure_forgotten": Lean(scale="long"),
    "dag_failure_forgotten": Lean(scale="long"),
    "dag_takes_one_edge": Lean(scale="long"),
    "dag_delay_for_each": Lean(scale="long"),
    "stale_not_decided_again": Lean(node_count=2),
    "give_back_lost": Lean({"": 0.0, "rpc.abandon": 10.0}),
    "give_back_repeated": Lean({"": 0.0, "rpc.abandon": 9.0, "store.commit.after": 25.0}),
    "send_believed_settled": Lean(node_count=2),
    "revival_leaves_siblings": Lean(scale="long"),
    "rerun_keeps_the_next": Lean(scale="busy"),
    "rerun_leaves_the_join": Lean(scale="busy"),
    "memory_is_believed": Lean(node_count=2),
    "late_try_decided_again": Lean(
        {"": 0.0, "commit.late": 30.0, "worker.yield": 8.0}, node_count=2, scale="busy"
    ),
    "earlier_try_believed": Lean(
        {"": 0.0, "commit.late": 30.0, "store.commit.after": 25.0}, node_count=2, scale="busy"
    ),
}


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """Have the bug of this name inside the block."""
    with PLANTS[name]():
        yield
