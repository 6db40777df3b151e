"""Reading queries and orders. What cannot be meant is refused, never taken for nothing.

    query     := part (OR part)*
    part      := clause (AND clause)*
    clause    := NOT clause | "(" query ")" | field operator value | field [NOT] IN "(" values ")"
    operator  := = != < <= > >=

A value stands in single or double quotes (doubled inside, a quote stands for itself) or bare;
a bare one ends before AND, OR, a parenthesis, or, in a list, a comma, and is trimmed. ``*`` in
a value of =, != and IN stands for any characters. AND binds tighter than OR; keywords may be
written small. Source: semantics h; conductor's SQL and Elasticsearch parsers, whose queries
all mean here what they mean there.
"""

import re
from datetime import UTC, datetime

from batuta.model.error import Fault, InvalidError
from batuta.store.query.tree import (
    DEFAULT_SORT,
    FIELDS,
    PAGE_SIZE_MAX,
    START_MAX,
    Comparison,
    Condition,
    Every,
    Field,
    Kind,
    Query,
    Some,
    Sort,
    Subject,
)

QUERY_CHARACTERS_MAX = 8_192  # half of what a query string may have
DEPTH_MAX = 20  # parentheses and NOTs inside each other; the parser and the databases recurse
VALUES_MAX = 1_000  # of a query; each is a parameter of the statement
SORT_KEYS_MAX = 8  # more cannot matter
NUMBER_MAX = 2**53 - 1  # the largest whole number that every JSON client can write

_NAME = re.compile(r"[A-Za-z_][\w.]*")
_OPERATOR = re.compile(r"!=|<>|<=|>=|==|=|<|>")
_KEYWORD = re.compile(r"(AND|OR|NOT|IN)\b", re.IGNORECASE)
# What ends a bare value: a keyword that stands alone, or a parenthesis.
_END = re.compile(r"\s(?:AND|OR)(?=[\s(]|$)|[()]", re.IGNORECASE)
_END_IN_LIST = re.compile(r"[(),]")
_QUOTED = re.compile(r"""'((?:[^']|'')*)'|"((?:[^"]|"")*)\"""")
_SUSPICIOUS = re.compile(r"""[=<>!'"]""")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER = re.compile(r"-?\d{1,16}")
_ORDERS = frozenset({"<", "<=", ">", ">="})


def parse_query(text: str | None, subject: Subject, *, free_text: str | None = None) -> Query:
    """Read a query; an empty one finds everything. ``free_text`` ``*`` is none.

    Raises:
        InvalidError: It names the place, what stands there, and what could.
    """
    words = (free_text or "").strip()
    if len(words) > QUERY_CHARACTERS_MAX:
        raise _refusal("freeText", f"longer than {QUERY_CHARACTERS_MAX} characters", words[:80])
    if "\0" in words:
        raise _refusal("freeText", "holds a NUL character; remove it", "")
    where = _Parser(text, subject).whole() if text and text.strip() else None
    return Query(subject, where, "" if words == "*" else words)


def parse_sort(text: str | None, subject: Subject) -> tuple[Sort, ...]:
    """Read an order: ``field:ASC`` or ``field:DESC``, joined by ``|`` or commas.

    Without a direction it is ASC; an empty text is the default, newest first.

    Raises:
        InvalidError: An unknown field or direction; the known ones are named.
    """
    keys = [key.strip() for key in re.split(r"[|,]", text or "") if key.strip()]
    if not keys:
        return DEFAULT_SORT[subject]
    if len(keys) > SORT_KEYS_MAX:
        raise _refusal("sort", f"more than {SORT_KEYS_MAX} keys", text or "")
    known = FIELDS[subject]
    found = []
    for key in keys:
        name, _, direction = (part.strip() for part in key.partition(":"))
        if name not in known:
            raise _refusal("sort", _unknown(name, subject), key)
        if direction.upper() not in {"", "ASC", "DESC"}:
            raise _refusal("sort", f"{name}: direction {direction!r} is not ASC or DESC", key)
        found.append(Sort(known[name], direction.upper() == "DESC"))
    return tuple(found)


def check_page(start: int, size: int) -> None:
    """Refuse a page out of range.

    Raises:
        InvalidError: It names ``start`` or ``size`` and the range.
    """
    if not 0 <= start <= START_MAX:
        raise _refusal(
            "start", f"{start} is not within 0 and {START_MAX}; narrow startTime instead", start
        )
    if not 1 <= size <= PAGE_SIZE_MAX:
        raise _refusal("size", f"{size} is not within 1 and {PAGE_SIZE_MAX}", size)


class _Parser:
    """One pass over a query's text; ``is_negated`` carries NOT down to the tests."""

    def __init__(self, text: str, subject: Subject) -> None:
        self._text = text
        self._at = 0
        self._subject = subject
        self._fields = FIELDS[subject]
        self._values = 0

    def whole(self) -> Condition:
        """Read everything."""
        if len(self._text) > QUERY_CHARACTERS_MAX:
            raise self._refuse(f"the query is longer than {QUERY_CHARACTERS_MAX} characters", 0)
        if "\0" in self._text:
            raise self._refuse("a NUL character; remove it", self._text.index("\0"))
        found = self._some(depth=0, is_negated=False)
        self._skip()
        if self._at < len(self._text):
            raise self._refuse(f"expected AND, OR or the end, found {self._ahead()}")
        return found

    def _some(self, *, depth: int, is_negated: bool) -> Condition:
        parts = [self._every(depth=depth, is_negated=is_negated)]
        while self._keyword("OR"):
            parts.append(self._every(depth=depth, is_negated=is_negated))
        return _joined(parts, is_every=is_negated)

    def _every(self, *, depth: int, is_negated: bool) -> Condition:
        parts = [self._clause(depth=depth, is_negated=is_negated)]
        while self._keyword("AND"):
            parts.append(self._clause(depth=depth, is_negated=is_negated))
        return _joined(parts, is_every=not is_negated)

    def _clause(self, *, depth: int, is_negated: bool) -> Condition:
        if depth > DEPTH_MAX:
            raise self._refuse(f"more than {DEPTH_MAX} levels of parentheses and NOT")
        if self._keyword("NOT"):
            return self._clause(depth=depth + 1, is_negated=not is_negated)
        if self._take("("):
            found = self._some(depth=depth + 1, is_negated=is_negated)
            if not self._take(")"):
                raise self._refuse(
                    f"expected AND, OR or a closing parenthesis, found {self._ahead()}"
                )
            return found
        field = self._field()
        if self._keyword("NOT"):
            if not self._keyword("IN"):
                raise self._refuse(f"{field.name}: expected IN after NOT, found {self._ahead()}")
            return self._list(field, is_negated=not is_negated)
        if self._keyword("IN"):
            return self._list(field, is_negated=is_negated)
        return self._comparison(field, is_negated=is_negated)

    def _field(self) -> Field:
        self._skip()
        found = _NAME.match(self._text, self._at)
        if found is None:
            raise self._refuse(f"expected a field, found {self._ahead()}; {self._known()}")
        field = self._fields.get(found[0])
        if field is None:
            raise self._refuse(_unknown(found[0], self._subject))
        self._at = found.end()
        return field

    def _comparison(self, field: Field, *, is_negated: bool) -> Condition:
        self._skip()
        place = self._at
        found = _OPERATOR.match(self._text, self._at)
        allowed = "=, !=, IN" + ("" if field.kind in _WORDY else ", <, <=, >, >=")
        if found is None:
            raise self._refuse(f"{field.name}: expected one of {allowed}, found {self._ahead()}")
        operator = found[0]
        self._at = found.end()
        if operator in _ORDERS and field.kind in _WORDY:
            raise self._refuse(
                f"{field.name}: operator {operator!r} is not one of {allowed}", place
            )
        at, value = self._value(field, _END)
        if operator in _ORDERS:
            return Comparison(field, operator, (self._read(field, value, at),), is_negated)
        is_unequal = operator in {"!=", "<>"}
        return self._equal(field, [(at, value)], is_negated=is_negated is not is_unequal)

    def _list(self, field: Field, *, is_negated: bool) -> Condition:
        if not self._take("("):
            raise self._refuse(f"{field.name}: expected ( after IN, found {self._ahead()}")
        values = [self._value(field, _END_IN_LIST)]
        while self._take(","):
            values.append(self._value(field, _END_IN_LIST))
        if not self._take(")"):
            raise self._refuse(f"{field.name}: expected , or ) in the list, found {self._ahead()}")
        return self._equal(field, values, is_negated=is_negated)

    def _equal(self, field: Field, values: list[tuple[int, str]], *, is_negated: bool) -> Condition:
        """Return that the field is one of the values, those with ``*`` as patterns."""
        can_match = field.kind in _WORDY
        plain = [(at, value) for at, value in values if not (can_match and "*" in value)]
        parts: list[Condition] = []
        if plain:
            read = tuple(self._read(field, value, at) for at, value in plain)
            parts.append(Comparison(field, "IN", read, is_negated))
        for _, value in values:
            if can_match and "*" in value:
                pattern = value.lower() if field.kind is Kind.ID else value
                parts.append(Comparison(field, "LIKE", (pattern,), is_negated))
        return _joined(parts, is_every=is_negated)

    def _value(self, field: Field, end: re.Pattern[str]) -> tuple[int, str]:
        """Return a value's place and its text; quotes are off, spaces around are off."""
        self._skip()
        self._values += 1
        if self._values > VALUES_MAX:
            raise self._refuse(f"more than {VALUES_MAX} values in a query")
        place = self._at
        if self._text[place : place + 1] in {"'", '"'}:
            quoted = _QUOTED.match(self._text, place)
            if quoted is None:
                raise self._refuse(f"{field.name}: the quote that opens here is not closed")
            self._at = quoted.end()
            if quoted[1] is not None:
                return place, quoted[1].replace("''", "'").strip()
            return place, quoted[2].replace('""', '"').strip()
        # The space before may be that of a keyword: then there is no value.
        found = end.search(self._text, place - self._text[place - 1].isspace())
        value = self._text[place : found.start() if found else None].strip()
        if not value:
            raise self._refuse(f"{field.name}: expected a value, found {self._ahead()}")
        if " " in value and _SUSPICIOUS.search(value):
            raise self._refuse(
                f"{field.name}: {value[:80]!r} looks like two clauses; join them by AND or OR, or"
                " put the value into quotes"
            )
        self._at = place + len(value)
        return place, value

    def _read(self, field: Field, value: str, at: int) -> str | int:
        """Return a value as the field holds it."""
        match field.kind:
            case Kind.TEXT:
                return value
            case Kind.ID:
                return self._read_id(field, value, at)
            case Kind.WORD:
                if value in field.words:
                    return value
                known = ", ".join(field.words)
                raise self._refuse(f"{field.name}: {value[:80]!r} is not one of {known}", at)
            case Kind.NUMBER:
                if _NUMBER.fullmatch(value) and abs(int(value)) <= NUMBER_MAX:
                    return int(value)
                raise self._refuse(f"{field.name}: {value[:80]!r} is not a whole number", at)
            case Kind.INSTANT:
                return self._read_instant(field, value, at)

    def _read_id(self, field: Field, value: str, at: int) -> str:
        lower = value.lower()
        if _ID.fullmatch(lower) or (not value and field.can_be_empty):
            return lower
        raise self._refuse(
            f"{field.name}: {value[:80]!r} is not an id; give all of it, or * for the rest", at
        )

    def _read_instant(self, field: Field, value: str, at: int) -> int:
        if _NUMBER.fullmatch(value) and abs(int(value)) <= NUMBER_MAX:
            return int(value)
        try:
            instant = datetime.fromisoformat(value)
            aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
            return round((aware - _EPOCH).total_seconds() * 1_000)
        except (ValueError, OverflowError) as error:
            raise self._refuse(
                f"{field.name}: {value[:80]!r} is neither Unix milliseconds nor ISO 8601, such as"
                " 2026-01-31T12:00:00Z",
                at,
            ) from error

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _take(self, character: str) -> bool:
        self._skip()
        if self._text[self._at : self._at + 1] != character:
            return False
        self._at += 1
        return True

    def _keyword(self, word: str) -> bool:
        self._skip()
        found = _KEYWORD.match(self._text, self._at)
        if found is None or found[1].upper() != word:
            return False
        self._at = found.end()
        return True

    def _ahead(self) -> str:
        rest = self._text[self._at : self._at + 40].strip()
        return repr(rest) if rest else "the end"

    def _known(self) -> str:
        return f"known are {', '.join(self._fields)}"

    def _refuse(self, message: str, at: int | None = None) -> InvalidError:
        place = (self._at if at is None else at) + 1
        return _refusal("query", f"at character {place}: {message}", self._text[:200])


_WORDY = frozenset({Kind.TEXT, Kind.ID, Kind.WORD})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _joined(parts: list[Condition], *, is_every: bool) -> Condition:
    if len(parts) == 1:
        return parts[0]
    return Every(tuple(parts)) if is_every else Some(tuple(parts))


def _unknown(name: str, subject: Subject) -> str:
    return (
        f"unknown field {name[:80]!r} of a {subject.value}; known are {', '.join(FIELDS[subject])}"
    )


def _refusal(name: str, message: str, value: object) -> InvalidError:
    return InvalidError(f"{name}: {message}", [Fault(name, message, value)])
