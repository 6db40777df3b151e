"""What is mounted beside the API: front doors with paths, words and errors of their own.

A request goes to the first mount that has its path, the one with the most literal path before
the others. Where two have the very same path, the first may pass: see ``PassOnError``.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from batuta.api.dispatch.page import API
from batuta.api.dispatch.router import Router
from batuta.api.request import HttpError, Reply, Request, Route
from batuta.model.error import BatutaError

PREFIX = "/d/"  # and a mount's name: its paths once more, whatever others claim them


class PassOnError(BatutaError):
    """A handler's word for: this is not mine, ask who else has this path.

    ``error`` is the answer when nobody else takes it. Raise it before the body is read, which
    the next one reads.
    """

    code = "PASS_ON"

    def __init__(self, error: BatutaError) -> None:
        super().__init__(error.message)
        self.error = error


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A front door: its name, its routes, and how it words an error of a status.

    ``uploads``: paths to which larger bodies may be sent; their handlers say how large.
    """

    name: str
    routes: tuple[Route, ...]
    render: Callable[[int, BatutaError], Reply]
    uploads: tuple[str, ...] = ()


class Match(msgspec.Struct, frozen=True):
    """A mount's row for a request, and the values of its path."""

    mount: Mount
    route: Route
    values: tuple[str, ...]


class Mounts:
    """All mounts of a server.

    Args:
        ports: By port the name of the only mount that answers there, besides the API.
    """

    def __init__(self, mounts: Sequence[Mount], ports: Mapping[int, str]) -> None:
        self._mounts = {mount.name: mount for mount in mounts}
        self._routers = {mount.name: Router(mount.routes) for mount in mounts}
        self._ports = ports
        paths = [route.path for mount in mounts for route in mount.routes]
        # below the API, which has the most requests, a mount claims its own few paths only
        self._below_api = tuple(one.partition("{")[0] for one in paths if one.startswith(API))
        self._firsts = {one.split("/", 2)[1] for one in paths if not one.startswith(API)}
        self._claimants: dict[str, list[Mount]] = {}  # by the first segment of a path
        for mount in mounts:
            for first in {route.path.split("/", 2)[1] for route in mount.routes}:
                self._claimants.setdefault(first, []).append(mount)
        self._firsts.add(PREFIX.strip("/"))
        self._uploads = {
            prefix + path
            for mount in mounts
            for path in mount.uploads
            for prefix in ("", PREFIX + mount.name)
        }

    def has(self, path: str) -> bool:
        """Say whether a path may be a mount's, from its first segment."""
        return path[1:].partition("/")[0] in self._firsts or path.startswith(self._below_api)

    def takes_uploads(self, path: str) -> bool:
        """Say whether bodies that are sent to a path are bounded by its handler alone."""
        return path in self._uploads

    def find(self, request: Request, mounts: Sequence[Mount]) -> list[Match]:
        """Return which of the mounts have the path, the one to be asked first first.

        Raises:
            HttpError: Nobody has the path (404), or not with this method (405).
        """
        matches: list[Match] = []
        refusals: list[HttpError] = []
        for mount in mounts:
            request.values = ()
            try:
                route = self._routers[mount.name].find(request)
            except HttpError as refusal:
                refusals.append(refusal)
            else:
                matches.append(Match(mount, route, request.values))
        if not matches:
            raise max(refusals, key=lambda refusal: refusal.status, default=_nothing(request))
        return sorted(matches, key=lambda match: match.route.path.count("{"))

    def candidates(self, request: Request) -> list[Mount]:
        """Return the mounts that are asked; a path under a mount's name loses that name.

        An error is worded by the mount that is alone; by the API where there are several.
        """
        scope = request.scope
        path: str = scope["path"]
        if path.startswith(PREFIX):
            name, _, rest = path.removeprefix(PREFIX).partition("/")
            if name not in self._routers:
                return []
            prefix = len(PREFIX) + len(name)
            raw = scope.get("raw_path", path.encode())
            request.scope = {**scope, "path": f"/{rest}", "raw_path": raw[prefix:] or b"/"}
            return [self._mounts[name]]
        only = self._ports.get((scope.get("server") or ("", 0))[1])
        if only is not None:
            return [self._mounts[only]]
        return self._claimants.get(path[1:].partition("/")[0], [])


def _nothing(request: Request) -> HttpError:
    path = request.scope["path"][:100]
    return HttpError(404, "NO_SUCH_PATH", f"there is nothing at {path!r}; see /docs")
