"""The value of a JavaScript condition: by our evaluator where simple, else by the sandbox.

The sandbox is a need: the draft asks, the committer has it evaluated outside the batch, and the
command is decided again with the answer.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from batuta.core.draft import Draft
from batuta.core.expression.script import (
    UNDEFINED,
    NotSimpleError,
    Script,
    ScriptError,
    compile_script,
)
from batuta.model.change import Failure, NeedScript
from batuta.model.payload import Payload

SCRIPTS_MAX = 2_048  # compiled scripts kept; one is a few kB


class Refused(msgspec.Struct, frozen=True):
    """The script gave no value: why. The task that needs it fails with this.

    ``is_late``: it took too long, so that another attempt may succeed.
    """

    message: str
    is_late: bool = False


@lru_cache(SCRIPTS_MAX)
def compiled(source: str) -> Script | None:
    """Return the compiled script, None when only the sandbox can evaluate it."""
    return compile_script(source)


def evaluate(draft: Draft, source: str, values: Mapping[str, Any]) -> Any:
    """Return the value of ``source`` with ``values`` as ``$``, or Refused.

    While the sandbox's answer is awaited the value is None; the draft is then not used.
    """
    if not source.strip():
        return Refused("the expression is empty; give one, or use value-param")
    script = compiled(source)
    if script is not None:
        try:
            return script.evaluate(lambda name: values.get(name, UNDEFINED))
        except NotSimpleError:
            pass  # a script error by its type, but these values are the sandbox's
        except ScriptError as error:
            return Refused(str(error))
    answer = draft.answer(NeedScript(source, msgspec.json.encode(dict(values))))
    if isinstance(answer, Failure):
        return Refused(answer.message, answer.is_late)
    return answer.value if isinstance(answer, Payload) else None
