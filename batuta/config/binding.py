"""Who reaches a server at its address."""

import ipaddress

from batuta.config.settings import Settings
from batuta.model.error import InvalidError


def check_binding(settings: Settings) -> None:
    """Refuse to listen where other machines reach us, unless that was asked for.

    Raises:
        InvalidError: The host is not a loopback one and `allow_remote` is not set.
    """
    if settings.allow_remote or is_loopback(settings.host):
        return
    raise InvalidError(
        f"host {settings.host!r} can be reached by other machines, and whoever reaches it may do "
        "everything, because this version has no keys; listen at 127.0.0.1, or give --allow-remote "
        "(BATUTA_ALLOW_REMOTE=true) if a firewall or a proxy decides who gets in"
    )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
