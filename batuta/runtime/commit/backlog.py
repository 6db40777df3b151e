"""How much a node holds for commands that it has not answered yet, and whom it refuses then."""

from batuta.model.command import (
    ChildEnded,
    Command,
    LogTask,
    RerunWorkflow,
    SkipTask,
    StartWorkflow,
    UpdateReference,
    UpdateTask,
)
from batuta.model.error import BusyError
from batuta.model.payload import Payload

INBOX_MAX = 20_000  # commands waiting; starts beyond it are refused at once
# Payloads of commands without an answer: what a node in trouble may grow by, whatever the clients
# send. At it, only what carries nothing is taken; one body may go over it.
INBOX_BYTES_MAX = 256 * 1024 * 1024


class Backlog:
    """Counts the bytes of commands from their arrival to their answer, wherever they wait."""

    __slots__ = ("size_bytes",)

    def __init__(self) -> None:
        self.size_bytes = 0

    def refusal(self, command: Command, waiting_count: int) -> BusyError | None:
        """Return why a client's command is not even taken in, or None.

        A timer, a lease's end and an operator's act carry nothing and are always taken.
        """
        if isinstance(command, StartWorkflow) and waiting_count >= INBOX_MAX:
            return BusyError(f"{waiting_count} commands are waiting; try again in a second")
        if self.size_bytes >= INBOX_BYTES_MAX and payload_bytes(command):
            waiting = f"{self.size_bytes} bytes of commands are waiting, {INBOX_BYTES_MAX} at most"
            return BusyError(f"{waiting}; try again in a second")
        return None


def payload_bytes(command: Command) -> int:
    """Return how many bytes of a client's a command carries; its fixed fields do not count."""
    match command:
        case UpdateTask():
            lines_bytes = sum(map(len, command.logs)) if command.logs else 0
            return _size(command.output) + lines_bytes
        case StartWorkflow():
            return command.input.size_bytes
        case UpdateReference():
            return _size(command.output)
        case ChildEnded():
            return command.output.size_bytes
        case RerunWorkflow():
            return _size(command.task_input) + _size(command.input)
        case SkipTask():
            return _size(command.input) + _size(command.output)
        case LogTask():
            return len(command.line)
        case _:
            return 0


def _size(payload: Payload | None) -> int:
    return 0 if payload is None else payload.size_bytes
