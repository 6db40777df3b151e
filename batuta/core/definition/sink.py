"""Where an EVENT's message goes. Source: semantics.md c.9, gotchas.md 59."""

OUR_KIND = "conductor"
# What Conductor has modules for; none of them is in this version.
OTHER_KINDS = frozenset(
    {"kafka", "sqs", "nats", "nats_stream", "jsm", "amqp", "amqp_queue", "amqp_exchange"}
)


def queue_of(sink: object, *, workflow_name: str, reference_name: str) -> str:
    """Return the queue of a sink whose expressions are resolved.

    ``conductor`` is the task's own queue, ``conductor:name`` one of its workflow: two workflows
    that say the same name do not meet.

    Raises:
        ValueError: Nobody here publishes there; the message says why and what to do.
    """
    fault = fault_of_sink(sink)
    if fault:
        raise ValueError(fault)
    name = str(sink).partition(":")[2]
    return f"{OUR_KIND}:{workflow_name}:{name or reference_name}"


def fault_of_sink(sink: object) -> str | None:
    """Return why no message can go to a sink, None when it can."""
    advice = "use 'conductor' or 'conductor:NAME', or a worker that publishes"
    if not isinstance(sink, str):
        given = "null" if sink is None else repr(sink)
        return f"the sink is {given}, which is no text; {advice}"
    kind, colon, name = sink.partition(":")
    if kind == OUR_KIND and bool(colon) == bool(name):
        return None
    if kind in OTHER_KINDS:
        return f"sink {sink!r}: {kind} is not configured here; {advice}"
    return f"sink {sink!r} is of no kind that there is; {advice}"
