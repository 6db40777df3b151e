"""Definitions of workflows and tasks, as they stand in Conductor's JSON.

Field names become camelCase on the wire and in the store. Every field has a default, so that a
definition can be read before it is judged: `core/definition/normalize.py` reads (types),
`core/definition/validate.py` judges (rules). Parts that the engine stores and echoes but does not
look into are plain maps. Times of day are Unix milliseconds, durations are seconds unless the name
says otherwise: the names are Conductor's.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec

# Conductor's Java types: a number outside them cannot be answered to an SDK that has them too.
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

RESPONSE_TIMEOUT_SECONDS = 3600  # Conductor's default lease of a task
# Of what stores look up: Conductor's columns; and two, of a domain and a type, fit a line of
# PostgreSQL's index (2,704 bytes) with characters of four bytes.
NAME_CHARACTERS_MAX = 255
DAYS_MAX = 36_500  # of retention; a hundred years, for who wants to outdo a default
COUNT_MAX = 1_000_000_000  # of retention; looking for the last run that stays reads as many
SCHEMA_VERSION = 2  # the only schema version that Conductor accepts


class WorkflowTimeoutPolicy(StrEnum):
    """What happens when a workflow runs longer than its `timeoutSeconds`."""

    TIME_OUT_WF = "TIME_OUT_WF"
    ALERT_ONLY = "ALERT_ONLY"


class TaskTimeoutPolicy(StrEnum):
    """What happens when a task runs longer than its `timeoutSeconds`."""

    RETRY = "RETRY"
    TIME_OUT_WF = "TIME_OUT_WF"
    ALERT_ONLY = "ALERT_ONLY"


class RetryLogic(StrEnum):
    """How the delay before the next attempt grows."""

    FIXED = "FIXED"
    EXPONENTIAL_BACKOFF = "EXPONENTIAL_BACKOFF"
    LINEAR_BACKOFF = "LINEAR_BACKOFF"


class JoinMode(StrEnum):
    """How eagerly Conductor polls a JOIN; Batuta decides joins at once in both."""

    SYNC = "SYNC"
    ASYNC = "ASYNC"


class IdempotencyStrategy(StrEnum):
    """What a second start with the same idempotency key does."""

    FAIL = "FAIL"
    RETURN_EXISTING = "RETURN_EXISTING"
    FAIL_ON_RUNNING = "FAIL_ON_RUNNING"


class TaskDef(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How tasks of one type are retried, timed out and limited.

    Source: semantics a.4; conductor TaskDef.
    """

    name: str = ""
    description: str | None = None
    retry_count: Int32 = 3
    timeout_seconds: Int64 = 0
    """0 is no limit."""
    timeout_policy: TaskTimeoutPolicy = TaskTimeoutPolicy.TIME_OUT_WF
    response_timeout_seconds: Int64 = RESPONSE_TIMEOUT_SECONDS
    """How long a worker owns a polled task without a word."""
    poll_timeout_seconds: Int32 | None = None
    total_timeout_seconds: Int64 = 0
    """Over all attempts and their delays; 0 is no limit."""
    retry_logic: RetryLogic = RetryLogic.FIXED
    retry_delay_seconds: Int32 = 60
    backoff_scale_factor: Int32 = 1
    max_retry_delay_seconds: Int32 = 0
    """0 is no limit."""
    backoff_jitter_ms: Int32 = 0
    concurrent_exec_limit: Int32 | None = None
    rate_limit_per_frequency: Int32 = 0
    rate_limit_frequency_in_seconds: Int32 = 1
    isolation_group_id: str | None = None
    execution_name_space: str | None = None
    input_keys: list[str] = []
    output_keys: list[str] | dict[str, Any] = []
    """Documentation only; an object is accepted (and kept) outside strict mode."""
    input_template: dict[str, Any] = {}
    runtime_metadata: list[str] = []
    owner_email: str | None = None
    base_type: str | None = None
    task_status_listener_enabled: bool = True
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    enforce_schema: bool = False
    owner_app: str | None = None
    create_time: Int64 = 0
    update_time: Int64 = 0
    created_by: str | None = None
    updated_by: str | None = None


class SubWorkflowParams(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which workflow a SUB_WORKFLOW task starts.

    Source: semantics a.2 and c.8; conductor SubWorkflowParams.
    """

    name: str = ""
    """With an inline definition: the name of that."""
    version: Int32 | str | None = None
    """A number, one `${...}` expression, or absent for the latest."""
    task_to_domain: dict[str, str] | None = None
    """Absent: the parent's."""
    workflow_definition: "WorkflowDef | str | None" = None
    """An inline definition or one `${...}` expression that gives one."""
    idempotency_key: str | None = None
    idempotency_strategy: IdempotencyStrategy | None = None
    priority: Any = None


class DagEdge(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A way from one node of a DAG to another: an extension that Conductor does not know.

    `docs/design/010-dag.md`.
    """

    source: str = msgspec.field(default="", name="from")
    target: str = msgspec.field(default="", name="to")
    when: str | None = None
    """JavaScript with the output of the node that the edge comes from as `$`; absent: always."""
    delay_ms: Int64 = 0
    """Counted from the end of the node that the edge comes from."""


class WorkflowTask(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One node of a workflow definition; which fields matter depends on its type.

    A type that Batuta does not know is a worker task of the user's, like SIMPLE.

    Source: semantics a.2; conductor WorkflowTask.
    """

    name: str = ""
    task_reference_name: str = ""
    description: str | None = None
    input_parameters: dict[str, Any] = {}
    type: str = "SIMPLE"
    start_delay: Int32 = 0
    optional: bool = False
    permissive: bool = False
    async_complete: bool = False
    task_definition: TaskDef | None = None
    """Embedded by the author, or by the engine when a run starts."""
    rate_limited: bool | None = None
    on_state_change: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    cache_config: dict[str, Any] | None = None
    join_status: str | None = None

    # These override the TaskDef for this node. Conductor has only retryCount and ignores the rest.
    retry_count: Int32 | None = None
    retry_logic: RetryLogic | None = None
    retry_delay_seconds: Int32 | None = None
    timeout_seconds: Int64 | None = None
    response_timeout_seconds: Int64 | None = None

    dynamic_task_name_param: str | None = None
    case_value_param: str | None = None
    case_expression: str | None = None
    evaluator_type: str | None = None
    expression: str | None = None
    decision_cases: "dict[str, list[WorkflowTask]]" = {}
    default_case: "list[WorkflowTask]" = []
    fork_tasks: "list[list[WorkflowTask]]" = []
    dynamic_fork_tasks_param: str | None = None
    dynamic_fork_tasks_input_param_name: str | None = None
    dynamic_fork_join_tasks_param: str | None = None
    join_on: list[str] = []
    join_mode: JoinMode | None = None
    default_exclusive_join_task: list[str] = []
    sub_workflow_param: SubWorkflowParams | None = None
    sink: str | None = None
    loop_condition: str | None = None
    loop_over: "list[WorkflowTask]" = []
    items: str | None = None
    script_expression: str | None = None

    # Of a DAG. Null rather than empty: no definition without one shows them.
    dag_tasks: "list[WorkflowTask] | None" = None
    dag_edges: list[DagEdge] | None = None


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How long ended runs are kept; 0 is for ever, absent what stands one level above."""

    days: Annotated[int, msgspec.Meta(ge=0, le=DAYS_MAX)] | None = None
    """Since they ended."""
    count: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)] | None = None
    """The last so many stay."""


class Retention(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How long the ended runs of a workflow are kept: an extension that Conductor ignores.

    Above its fields stand the server's settings. `docs/howto/keep-the-store-small.md`.
    """

    days: Annotated[int, msgspec.Meta(ge=0, le=DAYS_MAX)] | None = None
    count: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)] | None = None
    by_status: dict[str, RetentionRule] = {}
    """Rules of their own, whose runs do not count among the others'."""


class WorkflowDef(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A named, versioned graph of tasks; its identity is (name, version).

    Source: semantics a.1; conductor WorkflowDef.
    """

    name: str = ""
    description: str | None = None
    version: Int32 = 1
    tasks: list[WorkflowTask] = []
    input_parameters: list[str] = []
    output_parameters: dict[str, Any] = {}
    failure_workflow: str | None = None
    failure_workflow_version: Int32 | None = None
    schema_version: Int32 = SCHEMA_VERSION
    restartable: bool = True
    workflow_status_listener_enabled: bool = False
    workflow_status_listener_sink: str | None = None
    owner_email: str | None = None
    timeout_policy: WorkflowTimeoutPolicy = WorkflowTimeoutPolicy.ALERT_ONLY
    timeout_seconds: Int64 = 0
    """0 is no limit."""
    variables: dict[str, Any] = {}
    input_template: dict[str, Any] = {}
    rate_limit_config: dict[str, Any] | None = None
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    enforce_schema: bool = True
    metadata: dict[str, Any] = {}
    cache_config: dict[str, Any] | None = None
    masked_fields: list[str] = []
    retention: Retention | None = None
    owner_app: str | None = None
    create_time: Int64 = 0
    update_time: Int64 = 0
    created_by: str | None = None
    updated_by: str | None = None
