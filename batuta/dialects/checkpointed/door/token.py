"""Bearer tokens: JSON Web Tokens signed with HS256 and a key of this server.

The key is a setting, or a file in the data folder that is made when first needed; servers of one
database have to have the same. A token says who its bearer is and until when, nothing else.
"""

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Any

import msgspec

from batuta.api.request import HttpError, Request
from batuta.model.error import InvalidError, StoreError

KEY_FILE = "jwt.key"
KEY_BYTES_MIN = 32  # RFC 7518, 3.2: not shorter than the hash
EXPIRES_S = 7 * 86_400
EXPIRES_S_MAX = 10 * 365 * 86_400
USER_CHARACTERS_MAX = 255
TOKEN_CHARACTERS_MAX = 8_000
ALGORITHM = "HS256"  # the only one: a token that names another is refused, `none` too

_DURATION = re.compile(r"(\d{1,9})([smhdw]?)")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_CHALLENGE = ((b"www-authenticate", b"Bearer"),)


class User(msgspec.Struct, frozen=True):
    """Who a request comes from."""

    user_id: str
    email: str | None = None


def signing_key(secret: str, folder: Path) -> str:
    """Return the key: the setting, or that of the data folder, made if it is not there yet.

    Raises:
        InvalidError: It is too short. StoreError: The folder cannot be used.
    """
    if secret:
        return _checked(secret, "the setting jwt_secret (BATUTA_JWT_SECRET)")
    path = folder / KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make(path)
        found = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"the key of tokens, {path}, cannot be used: {error}") from error
    return _checked(found, str(path))


def make_token(key: str, user_id: str, *, now_s: int, expires_s: int = EXPIRES_S) -> str:
    """Return a token for a user.

    Args:
        now_s: Unix seconds.

    Raises:
        InvalidError: The name or the time cannot be used.
    """
    if not user_id.strip() or len(user_id) > USER_CHARACTERS_MAX or not user_id.isprintable():
        raise InvalidError(f"a user's name has 1 to {USER_CHARACTERS_MAX} printable characters")
    if not 0 < expires_s <= EXPIRES_S_MAX:
        raise InvalidError(f"a token lasts from 1 s to {EXPIRES_S_MAX // 86_400} days")
    import jwt  # noqa: PLC0415  0.1 s, which a server without class workflows need not pay

    claims = {"user_id": user_id, "iat": now_s, "exp": now_s + expires_s}
    return jwt.encode(claims, key, algorithm=ALGORITHM)


def read_duration(text: str) -> int:
    """Return the seconds of `7d`, `12h`, `30m`, `90s`, `2w` or a plain number of seconds.

    Raises:
        InvalidError: It is something else.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidError(f"{text!r} is no time; write it as 7d, 12h, 30m or 90s")
    return int(found[1]) * _UNITS_S[found[2]]


def user_of(request: Request, key: str, *, may_be_in_query: bool = False) -> User:
    """Return whose token a request has.

    Args:
        may_be_in_query: For event streams, to which a browser adds no header.

    Raises:
        HttpError: 401, it has none, an expired one, or one that is not ours.
    """
    header = next(
        (value for name, value in request.scope["headers"] if name == b"authorization"), b""
    )
    scheme, _, token = header.decode("latin-1").strip().partition(" ")
    if scheme.lower() != "bearer":
        token = ""
    if not token and may_be_in_query:
        token = request.text("token") or ""
    return read_token(token.strip(), key)


def read_token(token: str, key: str) -> User:
    """Return whose token it is.

    Raises:
        HttpError: 401, as ``user_of``.
    """
    if not token:
        raise _refusal("Missing authentication token")
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise _refusal("Invalid token")
    import jwt  # noqa: PLC0415  as above

    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            # who else a token is for does not matter, nor that its maker's clock is ahead of ours
            options={"require": ["exp", "user_id"], "verify_aud": False, "verify_iat": False},
        )
    except jwt.ExpiredSignatureError:
        raise _refusal("Token expired") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise _refusal("Invalid token") from None
    user_id, email = claims["user_id"], claims.get("email")
    is_number = isinstance(user_id, int) and not isinstance(user_id, bool)
    name = str(user_id) if is_number else user_id
    if not isinstance(name, str) or not name.strip() or len(name) > USER_CHARACTERS_MAX:
        raise _refusal("Invalid token")
    if "\0" in name or not _is_text(name):
        raise _refusal("Invalid token")
    return User(name, email if isinstance(email, str) else None)


def _refusal(message: str) -> HttpError:
    return HttpError(401, "NOT_AUTHENTICATED", message, _CHALLENGE)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which no store takes
        return False
    return True


def _make(path: Path) -> None:
    """Write a new key, whole or not at all; whoever comes first wins."""
    if path.exists():
        return
    part = path.with_name(f"{KEY_FILE}.{secrets.token_hex(8)}")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES_MIN) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)


def _checked(key: str, where: str) -> str:
    if len(key.encode()) < KEY_BYTES_MIN:
        raise InvalidError(f"{where} is shorter than {KEY_BYTES_MIN} bytes; take a longer key")
    return key
