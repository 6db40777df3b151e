"""Where scripts run: processes of their own, with nothing in them and little they may do.

An in-process interpreter is no boundary: QuickJS has natives that never look at its own time
limit, and heap bugs. So the server's end (``pool``) writes a script and its JSON to a child's
pipe, waits for the value until the deadline, and kills a child that is late. The child
(``child``) gives up its rights before the first script (``confine``). The same goes for jq, which
has no time limit of its own at all and shows its process's environment to programs.

This file holds what both ends must agree on. The child imports it, so it imports next to
nothing. See docs/design/005-scripts.md.
"""

import struct

SCRIPT_MS_MAX = 4_000  # Conductor's limit; the setting may change it
SOURCE_BYTES_MAX = 256_000  # ten times the largest expression seen in published definitions
ARGUMENT_BYTES_MAX = 16_000_000  # twice the largest body; a loop's condition sees its outputs
RESULT_BYTES_MAX = 3_145_728  # Conductor's limit of a task's output, 3,072 kB
RESULT_DEPTH_MAX = 100  # levels of objects and lists, as at the door
MESSAGE_CHARACTERS_MAX = 1_000  # of a failure; it ends up in reasonForIncompletion

# Frames. A request is its header, the source and the argument; an answer its header and a body.
REQUEST = struct.Struct(">BIII")  # language, bytes of source and of argument, ms it may take
JAVASCRIPT, JQ = 0, 1  # languages
ANSWER = struct.Struct(">BII")  # kind, bytes of the body, CPU ms the child has used in its life
READY, VALUE, FAILED = 0, 1, 2  # kinds: a report as JSON; a value as JSON; a message


def time_message(script_ms_max: int) -> str:
    """Say that a script took too long."""
    return f"the script ran longer than {script_ms_max} ms and was ended; make it do less"
