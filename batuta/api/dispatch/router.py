"""Finds the row of a route table for a request."""

from collections.abc import Sequence

from batuta.api.request import PLACE_CHARACTERS_MAX, HttpError, Request, Route, unquote_text
from batuta.model.error import Fault, InvalidError

VALUE_CHARACTERS_MAX = 100  # of a wrong value that an error repeats


class Router:
    """Finds the row of the route table for a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._exact = {(row.method, row.path): row for row in routes if "{" not in row.path}
        self._hot = {
            (row.method, row.path[: row.path.rindex("{")]): row
            for row in routes
            if row.is_hot and row.path.count("{") == 1 and row.path.endswith("}")
        }
        # By number of segments, literal ones first; None stands for a variable.
        self._patterns: dict[int, list[tuple[tuple[str | None, ...], Route]]] = {}
        for row in sorted(routes, key=lambda row: row.path.count("{")):
            parts = row.path.split("/")
            pattern = tuple(None if part.startswith("{") else part for part in parts)
            self._patterns.setdefault(len(parts), []).append((pattern, row))

    def find(self, request: Request) -> Route:
        """Return the row of a request, whose path variables it fills in.

        Raises:
            HttpError: 404, no such path; 405, the path has other methods (gotchas.md 9).
            InvalidError: The path holds what is not UTF-8.
        """
        scope = request.scope
        method, path = scope["method"], scope["path"]
        request.routes = self._routes
        if b"%" not in scope.get("raw_path", b""):
            if (row := self._exact.get((method, path))) is not None:
                return row
            cut = path.rfind("/") + 1
            size = len(path) - cut
            row = self._hot.get((method, path[:cut]))
            if row is not None and 0 < size <= PLACE_CHARACTERS_MAX:
                request.values = (path[cut:],)
                return row
            return self._search(request, method, path.split("/"))
        raw: str = scope["raw_path"].decode("latin-1")
        return self._search(request, method, [unquote_text(part) for part in raw.split("/")])

    def _search(self, request: Request, method: str, segments: list[str]) -> Route:
        wanted = "GET" if method == "HEAD" else method
        allowed: list[str] = []
        for pattern, row in self._patterns.get(len(segments), ()):
            pairs = zip(pattern, segments, strict=True)
            if not all(part == segment or (part is None and segment) for part, segment in pairs):
                continue
            # HEAD must not take a task from its queue.
            if row.method == wanted and not (row.is_hot and method == "HEAD"):
                pairs = zip(pattern, segments, strict=True)
                request.values = tuple(segment for part, segment in pairs if part is None)
                _check_places(row, request.values)
                return row
            allowed.append(row.method)
        where = "/".join(segments)[:VALUE_CHARACTERS_MAX]
        if not allowed:
            raise HttpError(404, "NO_SUCH_PATH", f"there is nothing at {where!r}; see /docs")
        words = ", ".join(dict.fromkeys(allowed))
        raise HttpError(
            405,
            "WRONG_METHOD",
            f"{method} is not possible at {where!r}; use {words}",
            ((b"allow", words.encode()),),
        )


def _check_places(row: Route, values: Sequence[str]) -> None:
    if all(len(value) <= PLACE_CHARACTERS_MAX for value in values):
        return
    names = [part[1:-1] for part in row.path.split("/") if part.startswith("{")]
    message = f"longer than {PLACE_CHARACTERS_MAX} characters; no id or name is"
    faults = [
        Fault(name, message, value)
        for name, value in zip(names, values, strict=True)
        if len(value) > PLACE_CHARACTERS_MAX
    ]
    raise InvalidError(f"{faults[0].path}: {message}", faults)
