"""The simple forms of JavaScript conditions, evaluated here rather than in the sandbox.

SWITCH, DECISION and DO_WHILE mostly ask things like ``$.loop['iteration'] < 3``. Such a text has
no loop, no assignment and no call but a few pure methods, so it can be evaluated inside ``decide``
with JavaScript's exact meaning, in microseconds. Anything else compiles to None and is a Need for
the sandbox (DESIGN.md 4), and so is a run that leaves the simple forms (NotSimpleError).
"""

from typing import Any

import msgspec

from batuta.core.expression.javascript import (
    UNDEFINED,
    NotSimpleError,
    ScriptError,
    is_true,
    to_result,
)
from batuta.core.expression.javascript_parse import Node, Root, parse
from batuta.core.expression.javascript_token import UnknownFormError
from batuta.core.expression.text import to_java_text

__all__ = [
    "UNDEFINED",
    "NotSimpleError",
    "Script",
    "ScriptError",
    "compile_script",
    "is_true",
    "to_java_text",
]


class Script(msgspec.Struct, frozen=True):
    """A compiled script; ``names`` are the properties of ``$`` it reads, no more and no less."""

    names: frozenset[str]
    node: Node

    def evaluate(self, root: Root) -> Any:
        """Give the value of the script's last expression in JSON's terms.

        Integral numbers are ints, undefined is None, NaN and the infinities are floats.

        Args:
            root: Gives the value of ``$.name``, the same object each time, or UNDEFINED; it is
                asked for ``names`` only, and only for those the evaluation comes to.

        Raises:
            NotSimpleError: the values lead out of the simple forms; use the sandbox.
            ScriptError: the script fails, as with a property of null.
        """
        return to_result(self.node(root))


def compile_script(text: str) -> Script | None:
    """Compile a script of the simple forms; None for any other text, which is the sandbox's.

    Source: semantics.md c.5, c.9 SWITCH, DECISION; ECMA-262.
    """
    try:
        node, names = parse(text)
    except UnknownFormError:
        return None
    return Script(names=names, node=node)
