"""Which addresses a server may connect to when a definition says so (SSRF, RELIABILITY S3).

Whoever may register a definition chooses what the server calls, from inside its network. A server
that only its own machine reaches may call anything its user could, but for the addresses where
clouds hand out credentials. One that others reach calls public addresses only, and what its
operator allows by name, address or network.

A rule is applied to the address that is really connected, never to the text of a URL: `0x7f.1`,
`[::ffff:127.0.0.1]` and a name that resolves differently each time all end at an address.
"""

import ipaddress
from collections.abc import Iterable

import msgspec

from batuta.model.error import InvalidError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where clouds give credentials to whoever asks; denied always, also when allowed by a wider rule.
_METADATA: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.169.0/24",  # AWS, Azure, Google, Oracle, OpenStack, DigitalOcean
            "169.254.170.0/24",  # credentials of AWS ECS and EKS
            "169.254.0.23/32",  # Tencent
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure's wire server
            "192.0.0.192/32",  # Oracle, classic
            "fd00:ec2::/32",  # AWS
            "fd20:ce::/32",  # Google
            "fd00:c1::/32",  # Oracle
            "fe80::a9fe:a9fe/128",  # OpenStack
        ),
    )
)
_METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.tencentyun.com",
        "instance-data",
        "instance-data.ec2.internal",
    }
)
# Prefixes of IPv6 that carry an IPv4 address, and how far it is from the right end, in bits.
_CARRIERS = (
    (ipaddress.IPv6Network("::/96"), 0),  # IPv4-compatible, long deprecated
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of one network
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4
)
_LOCAL_SIX = frozenset({ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1")})
_HOW = "the setting http_allowed_targets (BATUTA_HTTP_ALLOWED_TARGETS) can allow it"


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of one server. ``targets_of`` makes it from settings."""

    is_shared: bool
    """Others than this machine's users may have it call something."""
    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    """``.example.com`` for each name below it."""

    def denial(self, host: str, address: str) -> str | None:
        """Say why ``host`` may not be called at ``address``; None when it may.

        Args:
            host: As in the URL; counts only for what the operator allowed by name.
            address: An IP address as the operating system writes it, with a scope or without.
        """
        name = host.lower().rstrip(".")
        if name in _METADATA_NAMES:
            return f"{host!r} is a cloud's metadata service, which is never called"
        forms = tuple(_forms(ipaddress.ip_address(address.partition("%")[0])))
        where = address if host.strip("[]") == address else f"{host!r} at {address}"
        if any(form in network for form in forms for network in _METADATA):
            return f"{where} is a cloud's metadata address, which is never called"
        if not self.is_shared or self._is_allowed(name, forms):
            return None
        if all(_is_public(form) for form in forms):
            return None
        return f"{where} is no public address, and others reach this server; {_HOW}"

    def _is_allowed(self, name: str, forms: tuple[Address, ...]) -> bool:
        if name in self.names or name.endswith(self.suffixes):
            return True
        return any(form in network for form in forms for network in self.networks)


def targets_of(allowed: Iterable[str], *, is_shared: bool) -> Targets:
    """Read the allow-list: addresses, networks (`10.1.0.0/16`), names, `*.example.com`.

    Raises:
        InvalidError: An entry is none of these.
    """
    networks: list[Network] = []
    names: set[str] = set()
    suffixes: list[str] = []
    for entry in allowed:
        try:
            networks.append(ipaddress.ip_network(entry.strip("[]")))
            continue
        except ValueError:
            name = entry.lower().rstrip(".").removeprefix("*")
        labels = name.removeprefix(".").split(".")
        if not all(label.replace("-", "").replace("_", "").isalnum() for label in labels) or all(
            label[0].isdigit() for label in labels
        ):
            raise InvalidError(
                f"setting 'http_allowed_targets' has {entry!r}, which is no address, network "
                "(10.1.0.0/16, host bits 0), host name or *.name; write it without scheme and port"
            )
        if name.startswith("."):
            suffixes.append(name)
        else:
            names.add(name)
    return Targets(
        is_shared=is_shared,
        networks=tuple(networks),
        names=frozenset(names),
        suffixes=tuple(suffixes),
    )


def _forms(address: Address) -> Iterable[Address]:
    """Yield the address and whatever IPv4 address it stands for."""
    yield address
    if isinstance(address, ipaddress.IPv4Address) or address in _LOCAL_SIX:
        return
    for network, shift in _CARRIERS:
        if address in network:
            yield ipaddress.IPv4Address(int(address) >> shift & 0xFFFF_FFFF)
    if address.teredo is not None:
        yield address.teredo[1]


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network, _ in _CARRIERS):
            return address not in _LOCAL_SIX  # its IPv4 form is what counts
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
