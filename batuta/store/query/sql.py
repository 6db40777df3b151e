"""A query as SQL with parameters: what the databases have in common. Pure.

A condition becomes a boolean expression. Above a test there are only AND and OR, under which
NULL counts as false; a negated test is ``IS NOT TRUE``, under which it counts as true.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from batuta.model.execution import TaskStatus
from batuta.store.query.tree import (
    FREE_TEXT_FIELDS,
    Comparison,
    Condition,
    Every,
    Kind,
    Query,
    Some,
    Sort,
    Subject,
)

# The tasks that somebody looks for, and of which there are few: they have an index of their own.
TROUBLE = tuple(
    status.value
    for status in TaskStatus
    if status.is_terminal and status is not TaskStatus.COMPLETED
)


class Column(msgspec.Struct, frozen=True):
    """How a field is read.

    ``bare`` is what an index knows; NULL where the field is empty. ``value`` is never NULL;
    ``text`` is it as text. ``equal`` says, with ``{marks}`` for a list of parameters, that the
    field is one of them, where ``bare IN`` does not.
    """

    bare: str
    value: str = ""
    text: str = ""
    equal: str = ""

    def __post_init__(self) -> None:
        assert "{" not in self.bare, "an expression is complete"


class Dialect(msgspec.Struct, frozen=True):
    """What differs between databases: ``{value}`` is an expression, ``{mark}`` a parameter."""

    marks: Mapping[Kind, str]  # a parameter, ``{n}`` its number
    like: str
    pattern: Callable[[str], str]
    contains: str
    columns: Mapping[Subject, Mapping[str, Column]]
    trouble: str  # says that a task's status is one of TROUBLE, in the words of the index


class Statement:
    """Collects the parameters of a statement while its parts are written."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.parameters: list[str | int] = []

    def mark(self, kind: Kind, value: str | int) -> str:
        """Add a parameter and return its place-holder."""
        self.parameters.append(value)
        return self._dialect.marks[kind].format(n=len(self.parameters))

    def condition(self, query: Query) -> str:
        """Return the expression that is true of what the query finds."""
        parts = []
        if query.where is not None:
            parts.append(self._condition(query.subject, query.where))
        if query.free_text:
            mark = self.mark(Kind.TEXT, query.free_text)
            columns = self._dialect.columns[query.subject]
            looks = (
                self._dialect.contains.format(value=_text(columns[name]), mark=mark)
                for name in FREE_TEXT_FIELDS[query.subject]
            )
            parts.append(f"({' OR '.join(looks)})")
        return " AND ".join(parts) or "true"

    def order(self, subject: Subject, sort: Sequence[Sort]) -> str:
        """Return the keys of the order, the last of which makes it total."""
        columns = self._dialect.columns[subject]
        keys = [
            _value(columns[key.field.name]) + (" DESC" if key.is_descending else "") for key in sort
        ]
        is_task = subject is Subject.TASK
        last = columns["taskId"].bare + " DESC" if is_task else columns["workflowId"].bare
        return ", ".join(dict.fromkeys([*keys, last]))

    def _condition(self, subject: Subject, condition: Condition) -> str:
        match condition:
            case Every(parts):
                return f"({' AND '.join(self._condition(subject, part) for part in parts)})"
            case Some(parts):
                return f"({' OR '.join(self._condition(subject, part) for part in parts)})"
            case Comparison():
                holds = self._test(subject, condition)
                return f"({holds}) IS NOT TRUE" if condition.is_negated else holds

    def _test(self, subject: Subject, test: Comparison) -> str:
        column = self._dialect.columns[subject][test.field.name]
        if test.operator == "IN":
            return self._equal(subject, test, column)
        if test.operator == "LIKE":
            mark = self.mark(Kind.TEXT, self._dialect.pattern(str(test.values[0])))
            return self._dialect.like.format(value=_text(column), mark=mark)
        mark = self.mark(test.field.kind, test.values[0])
        compared = f"{column.bare} {test.operator} {mark}"
        return (
            f"({column.bare} <> 0 AND {compared})" if test.field.kind is Kind.INSTANT else compared
        )

    def _equal(self, subject: Subject, test: Comparison, column: Column) -> str:
        kind = test.field.kind
        given = [value for value in test.values if value != ""]
        parts = []
        if given:
            marks = ", ".join(self.mark(kind, value) for value in given)
            parts.append(
                (column.equal or "{bare} IN ({marks})").format(bare=column.bare, marks=marks)
            )
        if len(given) < len(test.values):
            is_empty = " IS NULL" if kind is Kind.ID else " = ''"
            parts.append((column.bare if kind is Kind.ID else _value(column)) + is_empty)
        holds = f"({' OR '.join(parts)})"
        is_rare = kind is Kind.WORD and subject is Subject.TASK and set(given) <= set(TROUBLE)
        return f"({self._dialect.trouble} AND {holds})" if is_rare else holds


def _value(column: Column) -> str:
    return column.value or column.bare


def _text(column: Column) -> str:
    return column.text or _value(column)
