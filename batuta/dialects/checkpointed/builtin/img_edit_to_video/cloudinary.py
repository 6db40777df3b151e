"""Uploading a picture to Cloudinary, for those who have an account there.

Source: Cloudinary's upload API (POST /v1_1/<cloud>/image/upload, signed with SHA-1).
"""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from batuta.runtime.clock import wall_ms
from batuta.workers.media.call import TroubleError
from batuta.workers.media.provider.ask import Target, ask

URL = "https://api.cloudinary.com"
UPLOAD_S = 120.0


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account. Its text shows no secret."""

    cloud: str
    key: str
    secret: str
    url: str = URL

    def __repr__(self) -> str:
        return f"Account({self.cloud!r})"


def account_of(environment: Mapping[str, str]) -> Account | None:
    """Return the account that Cloudinary's own names tell of; None when they do not.

    They are CLOUDINARY_URL (cloudinary://key:secret@cloud), or CLOUDINARY_CLOUD_NAME, _API_KEY
    and _API_SECRET; CLOUDINARY_UPLOAD_PREFIX is another address of the API.
    """
    base = environment.get("CLOUDINARY_UPLOAD_PREFIX") or URL
    parts = urlsplit(environment.get("CLOUDINARY_URL", ""))
    if parts.scheme == "cloudinary" and parts.hostname and parts.username and parts.password:
        base = parse_qs(parts.query).get("upload_prefix", [base])[0]
        cloud = parts.netloc.rpartition("@")[2]
        key, secret = unquote(parts.username), unquote(parts.password)
        return Account(cloud=cloud, key=key, secret=secret, url=base.rstrip("/"))
    names = ("CLOUDINARY_CLOUD_NAME", "CLOUDINARY_API_KEY", "CLOUDINARY_API_SECRET")
    cloud, key, secret = (environment.get(name, "") for name in names)
    if not (cloud and key and secret):
        return None
    return Account(cloud=cloud, key=key, secret=secret, url=base.rstrip("/"))


async def upload(account: Account, raw: bytes, media_type: str, job_id: str) -> dict[str, Any]:
    """Upload a picture; return its URL, id and format.

    The id is the job's, so that a step that runs again replaces its own picture.

    Raises:
        NodeError: Cloudinary refuses it. TroubleError: It may pass.
    """
    import aiohttp  # noqa: PLC0415  0.4 s, which a server without uploads need not pay

    signed = {"overwrite": "true", "public_id": job_id, "timestamp": str(wall_ms() // 1_000)}
    text = "&".join(f"{name}={value}" for name, value in sorted(signed.items()))
    signature = hashlib.sha1((text + account.secret).encode()).hexdigest()  # noqa: S324  as it asks
    form = aiohttp.FormData()
    for name, value in {**signed, "api_key": account.key, "signature": signature}.items():
        form.add_field(name, value)
    ending = media_type.rpartition("/")[2]
    form.add_field("file", raw, filename=f"image.{ending}", content_type=media_type)
    target = Target(name="Cloudinary", url=account.url, secrets=(account.secret, account.key))
    where = f"/v1_1/{account.cloud}/image/upload"
    answer = await ask(target, "POST", where, form=form, wait_s=UPLOAD_S)
    url = answer.get("secure_url") or answer.get("url") if isinstance(answer, dict) else None
    if not isinstance(url, str):
        raise TroubleError("Cloudinary's answer has no URL")
    return {
        "image_url": url,
        "public_id": str(answer.get("public_id") or ""),
        "format": str(answer.get("format") or ""),
    }
