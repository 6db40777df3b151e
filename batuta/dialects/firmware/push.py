"""What GitHub sends: its signature, and what a push says. Source: S2.4; GitHub's webhooks.

The signature is that of the bytes as they came. Hashing a document that was read and written
again refuses whatever is not plain ASCII.
"""

import hashlib
import hmac
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from batuta.api.body import decode_whole
from batuta.model.error import InvalidError

_SIGNATURE = re.compile(rb"sha256=[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_BRANCHES = "refs/heads/"
_FORM = b"application/x-www-form-urlencoded"


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """A commit that is now the head of a branch."""

    repo: str
    branch: str
    commit_sha: str


def is_signed(secret: str, body: bytes, signature: bytes) -> bool:
    """Say whether a body was signed with the secret, in a time that tells nothing about it.

    Args:
        signature: As in X-Hub-Signature-256; of another length or algorithm it is none.
    """
    if _SIGNATURE.fullmatch(signature) is None:
        return False
    made = b"sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()
    return hmac.compare_digest(made, signature)


def read_push(body: bytes, media: bytes, branches: Collection[str]) -> Push | None:
    """Return the push to one of the branches; None for another branch, a tag or a deletion.

    Args:
        media: The content type: JSON, or a form with the JSON in its field ``payload``.

    Raises:
        InvalidError: It is no document, or lacks what a push has.
    """
    document = decode_whole(_document(body, media))
    if not isinstance(document, dict):
        raise InvalidError("the body must be an object")
    ref = document.get("ref")
    if not isinstance(ref, str) or not ref.startswith(_BRANCHES):
        return None
    branch, after = ref.removeprefix(_BRANCHES), document.get("after")
    if branch not in branches or document.get("deleted") is True or _is_nothing(after):
        return None
    repository = document.get("repository")
    repo = repository.get("name") if isinstance(repository, dict) else None
    if not isinstance(repo, str) or not repo:
        raise InvalidError("repository.name is missing")
    if not isinstance(after, str) or _COMMIT.fullmatch(after) is None:
        raise InvalidError("after is no commit: 7 to 64 hexadecimal digits")
    return Push(repo=repo, branch=branch, commit_sha=after)


def run_id(delivery: str) -> str:
    """Return the id of the run that a delivery starts: the same for the same delivery.

    A start of a run that is there changes nothing, on any node: so a delivery that is repeated
    starts none. It is a UUID of version 8, whose bits are those of a hash.
    """
    number = int.from_bytes(hashlib.sha256(b"github\0" + delivery.encode()).digest()[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    text = f"{number & ~(0x3 << 62) | 0x2 << 62:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _document(body: bytes, media: bytes) -> bytes:
    if not media.startswith(_FORM):
        return body
    try:
        fields: dict[str, Any] = dict(parse_qsl(body.decode("ascii"), max_num_fields=16))
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidError(f"the form cannot be read: {error}") from error
    return str(fields.get("payload", "")).encode()


def _is_nothing(after: Any) -> bool:
    return isinstance(after, str) and bool(after) and not after.strip("0")
