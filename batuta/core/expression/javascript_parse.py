"""A parser for the simple forms of JavaScript conditions; it builds closures to evaluate.

Statements: expressions, blocks, ``if``/``else``, and inside ``(function(){ ... })()`` or
``function e(){ ... } e();`` also ``return``. Expressions: see ``_Parser``. Whatever else the
language has (loops, assignments, other calls, regular expressions, ``$`` by itself) is not
simple; the parser gives up rather than guess, so that a real interpreter decides.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from batuta.core.expression.javascript import (
    OPERATORS,
    UNDEFINED,
    is_true,
    to_number,
    type_of,
)
from batuta.core.expression.javascript_member import INHERITED, METHODS, call, member
from batuta.core.expression.javascript_token import (
    NO_FUNCTION_NAMES,
    WORDS,
    Token,
    UnknownFormError,
    string_of,
    tokens_of,
)

TEXT_MAX = 8192  # characters of a script; longer ones are programs, not conditions
DEPTH_MAX = 32  # nested parentheses, blocks and signs; bounds the parser's recursion
OPERATIONS_MAX = 256  # operators and accesses; bounds the evaluation's recursion and time

Root = Callable[[str], Any]
Node = Callable[[Root], Any]

# What a statement gives that leaves no value (in a script) or does not return (in a function).
EMPTY: Final = object()

_INTEGER_KEY = re.compile(r"0|[1-9][0-9]*")
_PRECEDENCE = {"??": 1, "||": 1, "&&": 2, "==": 3, "!=": 3, "===": 3, "!==": 3} | {
    **dict.fromkeys(("<", "<=", ">", ">="), 4),
    **dict.fromkeys("+-", 5),
    **dict.fromkeys("*/%", 6),
}


def parse(text: str) -> tuple[Node, frozenset[str]]:
    """Parse a script.

    Returns:
        What evaluates it to the value of its last expression, and the names of ``$`` it reads.

    Raises:
        UnknownFormError: it is not of the simple forms.
    """
    if len(text) > TEXT_MAX:
        raise UnknownFormError
    parser = _Parser(tokens_of(text))
    node = parser.script()
    return node, frozenset(parser.names)


class _Parser:
    """A cursor over the tokens.

    By precedence: ``?:``, ``?? ||``, ``&&``, equality, order, sum, product, signs and typeof,
    member access and a few pure methods.
    """

    def __init__(self, tokens: list[Token]) -> None:
        self.names: set[str] = set()
        self._tokens = tokens
        self._position = 0
        self._depth = 0
        self._operations = 0
        self._function: tuple[str, Node] | None = None

    def script(self) -> Node:
        """Parse up to the end."""
        if self._takes("function"):
            name = self._function_name()
            self._function = (name, self._function_body())
        statements: list[Node] = []
        while self._token.kind != "end":
            statements.append(self._statement(returns=False))
        sequence = _sequence_of_values(statements)
        return lambda root: UNDEFINED if (value := sequence(root)) is EMPTY else value

    @property
    def _token(self) -> Token:
        return self._tokens[self._position]

    def _take(self) -> Token:
        token = self._token
        if token.kind == "end":
            raise UnknownFormError
        self._position += 1
        return token

    def _takes(self, *texts: str) -> bool:
        """Step over the next tokens if they are these marks or words."""
        ahead = self._tokens[self._position : self._position + len(texts)]
        if any(token.kind not in ("mark", "name") for token in ahead):
            return False
        if tuple(token.text for token in ahead) != texts:
            return False
        self._position += len(texts)
        return True

    def _need(self, *texts: str) -> None:
        if not self._takes(*texts):
            raise UnknownFormError

    def _count(self) -> None:
        self._operations += 1
        if self._operations > OPERATIONS_MAX:
            raise UnknownFormError

    def _nested(self, parse_inner: Callable[[], Node]) -> Node:
        if self._depth >= DEPTH_MAX:
            raise UnknownFormError
        self._depth += 1
        node = parse_inner()
        self._depth -= 1
        return node

    def _statement(self, *, returns: bool) -> Node:
        return self._nested(lambda: self._any_statement(returns=returns))

    def _any_statement(self, *, returns: bool) -> Node:
        if self._takes(";"):
            return lambda _root: EMPTY
        if self._takes("{"):
            return self._block(returns=returns)
        if self._takes("if"):
            return self._if(returns=returns)
        if returns and self._takes("return"):
            return self._return()
        node = self._expression()
        self._end_statement()
        if not returns:
            return node

        def evaluate(root: Root) -> Any:
            node(root)
            return EMPTY

        return evaluate

    def _block(self, *, returns: bool) -> Node:
        statements: list[Node] = []
        while not self._takes("}"):
            statements.append(self._statement(returns=returns))
        return _sequence_of_returns(statements) if returns else _sequence_of_values(statements)

    def _if(self, *, returns: bool) -> Node:
        self._count()
        self._need("(")
        condition = self._expression()
        self._need(")")
        then = self._statement(returns=returns)
        otherwise: Node = lambda _root: EMPTY  # noqa: E731 - the branch that is not written
        if self._takes("else"):
            otherwise = self._statement(returns=returns)

        def choose(root: Root) -> Any:
            value = then(root) if is_true(condition(root)) else otherwise(root)
            # The value of an if is undefined, not that of the statement before it.
            return UNDEFINED if value is EMPTY and not returns else value

        return choose

    def _return(self) -> Node:
        token = self._token
        if token.follows_line_end or token.kind == "end" or token.text in (";", "}"):
            self._end_statement()
            return lambda _root: UNDEFINED
        node = self._expression()
        self._end_statement()
        return node

    def _end_statement(self) -> None:
        token = self._token
        if self._takes(";") or token.kind == "end" or token.follows_line_end:
            return
        if token.kind != "mark" or token.text != "}":
            raise UnknownFormError

    def _function_name(self) -> str:
        name = self._take()
        if name.kind != "name" or name.text in NO_FUNCTION_NAMES:
            raise UnknownFormError
        return name.text

    def _function_body(self) -> Node:
        self._need("(", ")", "{")
        body = self._block(returns=True)
        return lambda root: UNDEFINED if (value := body(root)) is EMPTY else value

    def _expression(self) -> Node:
        return self._nested(self._conditional)

    def _conditional(self) -> Node:
        condition, _ = self._binary(1)
        if not self._takes("?"):
            return condition
        self._count()
        then = self._expression()
        self._need(":")
        otherwise = self._expression()
        return lambda root: then(root) if is_true(condition(root)) else otherwise(root)

    def _binary(self, weakest: int) -> tuple[Node, str]:
        """Give the node and its outermost operator, for ``??`` may not mix with ``||, &&``."""
        left, left_operator = self._unary(), ""
        while self._token.kind == "mark":
            operator = self._token.text
            strength = _PRECEDENCE.get(operator, 0)
            if strength < weakest:
                break
            self._take()
            self._count()
            right, right_operator = self._binary(strength + 1)
            mixed = {operator, left_operator, right_operator}
            if "??" in mixed and mixed & {"||", "&&"}:
                raise UnknownFormError
            left, left_operator = _operation(operator, left, right), operator
        return left, left_operator

    def _unary(self) -> Node:
        for sign, build in _SIGNS.items():
            if self._takes(sign):
                self._count()
                return build(self._nested(self._unary))
        return self._access(self._primary())

    def _access(self, node: Node) -> Node:
        while True:
            if self._takes("."):
                name = self._take()
                if name.kind != "name":
                    raise UnknownFormError
                if self._takes("("):
                    node = self._call(node, name.text)
                else:
                    node = _member(node, _constant(name.text))
            elif self._takes("["):
                key = self._expression()
                self._need("]")
                node = _member(node, key)
            else:
                return node
            self._count()

    def _call(self, node: Node, name: str) -> Node:
        arguments = self._items(")")
        if name not in METHODS or METHODS[name][0] != len(arguments):
            raise UnknownFormError
        return lambda root: call(node(root), name, [argument(root) for argument in arguments])

    def _items(self, end: str) -> list[Node]:
        items: list[Node] = []
        while not self._takes(end):
            items.append(self._expression())
            if not self._takes(","):
                self._need(end)
                break
        return items

    def _primary(self) -> Node:
        if self._takes("(", "function"):
            return self._called_function()
        if self._takes("("):
            node = self._expression()
            self._need(")")
            return node
        if self._takes("["):
            items = self._items("]")
            return lambda root: [item(root) for item in items]
        if self._takes("{"):
            return self._object()
        token = self._take()
        if token.kind == "number":
            is_hex = token.text[:2] in ("0x", "0X")
            return _constant(to_number(int(token.text, 16)) if is_hex else float(token.text))
        if token.kind == "string":
            return _constant(string_of(token.text))
        if token.kind == "name":
            return self._name(token.text)
        raise UnknownFormError

    def _name(self, name: str) -> Node:
        if name == "$":
            return self._input()
        if name in WORDS:
            return _constant(WORDS[name])
        if self._function is not None and self._function[0] == name:
            self._need("(", ")")
            return self._function[1]
        raise UnknownFormError

    def _input(self) -> Node:
        """Parse ``.name`` or ``['name']`` behind a ``$``."""
        if self._takes("."):
            token = self._take()
            name, is_name = token.text, token.kind == "name"
        else:
            self._need("[")
            token = self._take()
            is_name = token.kind == "string"
            name = string_of(token.text) if is_name else ""
            self._need("]")
        calls = self._token.kind == "mark" and self._token.text == "("
        if not is_name or calls or name in INHERITED:
            raise UnknownFormError
        self.names.add(name)
        return lambda root: root(name)

    def _called_function(self) -> Node:
        if self._token.kind == "name":
            name = self._function_name()
            if self._function is not None and self._function[0] == name:
                raise UnknownFormError
        body = self._nested(self._function_body)
        if not self._takes("(", ")", ")"):
            self._need(")", "(", ")")
        return body

    def _object(self) -> Node:
        entries: list[tuple[str, Node]] = []
        while not self._takes("}"):
            token = self._take()
            if token.kind not in ("name", "string"):
                raise UnknownFormError
            key = string_of(token.text) if token.kind == "string" else token.text
            # Integers come first in an object's order, and __proto__ sets no property.
            if _INTEGER_KEY.fullmatch(key) or key == "__proto__":
                raise UnknownFormError
            self._need(":")
            entries.append((key, self._expression()))
            if not self._takes(","):
                self._need("}")
                break
        return lambda root: {key: node(root) for key, node in entries}


def _constant(value: Any) -> Node:
    return lambda _root: value


def _member(node: Node, key: Node) -> Node:
    return lambda root: member(node(root), key(root))


def _operation(operator: str, left: Node, right: Node) -> Node:
    if operator == "&&":
        return lambda root: right(root) if is_true(value := left(root)) else value
    if operator == "||":
        return lambda root: value if is_true(value := left(root)) else right(root)
    if operator == "??":
        return lambda root: (
            right(root) if (value := left(root)) is None or value is UNDEFINED else value
        )
    operate = OPERATORS[operator]
    return lambda root: operate(left(root), right(root))


_SIGNS: Final[dict[str, Callable[[Node], Node]]] = {
    "!": lambda node: lambda root: not is_true(node(root)),
    "-": lambda node: lambda root: -float(to_number(node(root))),
    "+": lambda node: lambda root: to_number(node(root)),
    "typeof": lambda node: lambda root: type_of(node(root)),
}


def _sequence_of_values(statements: list[Node]) -> Node:
    def run(root: Root) -> Any:
        last: Any = EMPTY
        for statement in statements:
            if (value := statement(root)) is not EMPTY:
                last = value
        return last

    return run


def _sequence_of_returns(statements: list[Node]) -> Node:
    def run(root: Root) -> Any:
        for statement in statements:
            if (value := statement(root)) is not EMPTY:
                return value
        return EMPTY

    return run
