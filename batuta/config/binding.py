"""Who reaches a server at its address."""

import ipaddress
from collections.abc import Sequence

from batuta.config.settings import Settings
from batuta.model.error import InvalidError

PORT_MAX = 65_535


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


def alias_ports(settings: Settings, doors: Sequence[str]) -> dict[int, str]:
    """Return the further ports to listen at, each with the front door alone there ("": all).

    Args:
        doors: The names of the front doors there are.

    Raises:
        InvalidError: An entry is no port, names no front door, or is there twice.
    """
    ports: dict[int, str] = {}
    for entry in settings.listen:
        number, _, door = entry.partition("=")
        if not number.isascii() or not number.isdecimal() or not 0 < int(number) <= PORT_MAX:
            raise InvalidError(f"listen: {entry!r} does not begin with a port from 1 to {PORT_MAX}")
        if door and door not in doors:
            raise InvalidError(f"listen: no front door {door!r}; there are {', '.join(doors)}")
        port = int(number)
        if port in ports or port == settings.port:
            raise InvalidError(f"listen: port {port} is given twice")
        ports[port] = door
    return ports


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
