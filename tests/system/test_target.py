"""Which addresses may be called, by whom. Source: RELIABILITY S3 (SSRF)."""

import pytest

from batuta.model.error import InvalidError
from batuta.workers.system.target import targets_of

METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "169.254.0.23",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fe80::a9fe:a9fe",
    "fe80::a9fe:a9fe%eth0",
    # the same IPv4 address, carried by IPv6
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
]
INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1",
    "2002:0a00:0001::1",
    "2002:7f00:0001::1",
]
OUTSIDE = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]

LOCAL = targets_of((), is_shared=False)
SHARED = targets_of((), is_shared=True)


@pytest.mark.parametrize("address", METADATA)
def test_a_metadata_address_is_never_called(address: str) -> None:
    everything = targets_of(("0.0.0.0/0", "::/0", "h"), is_shared=True)

    for targets in (LOCAL, SHARED, everything):
        assert "metadata" in (targets.denial("h", address) or "")


@pytest.mark.parametrize("name", ["metadata.google.internal", "Metadata.GOOG.", "metadata"])
def test_a_metadata_name_is_never_called(name: str) -> None:
    assert "metadata" in (LOCAL.denial(name, "8.8.8.8") or "")


@pytest.mark.parametrize("address", INSIDE)
def test_only_a_server_of_this_machine_alone_calls_inside_addresses(address: str) -> None:
    assert LOCAL.denial("h", address) is None
    denial = SHARED.denial("h", address)
    assert denial is not None
    assert address in denial
    assert "BATUTA_HTTP_ALLOWED_TARGETS" in denial


@pytest.mark.parametrize("address", OUTSIDE)
def test_every_server_calls_public_addresses(address: str) -> None:
    assert LOCAL.denial("h", address) is None
    assert SHARED.denial("h", address) is None


@pytest.mark.parametrize(
    ("allowed", "host", "address", "is_called"),
    [
        ("10.1.2.3", "h", "10.1.2.3", True),
        ("10.1.2.3", "h", "10.1.2.4", False),
        ("10.1.2.3", "h", "::ffff:10.1.2.3", True),
        ("10.1.0.0/16", "h", "10.1.9.9", True),
        ("10.1.0.0/16", "h", "10.2.0.1", False),
        ("[::1]", "[::1]", "::1", True),
        ("fd12::/16", "h", "fd12::5", True),
        ("api.internal", "API.internal.", "10.0.0.1", True),
        ("api.internal", "api.internal.example.com", "10.0.0.1", False),
        ("api.internal", "xapi.internal", "10.0.0.1", False),
        ("*.internal", "a.b.internal", "10.0.0.1", True),
        ("*.internal", "internal", "10.0.0.1", False),
        ("*.internal", "evilinternal", "10.0.0.1", False),
        ("localhost", "localhost", "127.0.0.1", True),
        ("localhost", "127.0.0.1", "127.0.0.1", False),
    ],
)
def test_a_shared_server_calls_what_its_operator_allows(
    allowed: str, host: str, address: str, *, is_called: bool
) -> None:
    targets = targets_of((allowed,), is_shared=True)

    assert (targets.denial(host, address) is None) is is_called


@pytest.mark.parametrize(
    "entry",
    ["http://10.0.0.1", "10.0.0.1:80", "10.0.0.1/8", "a b", "*", "1.2.3", "", "a..b", "h/x"],
)
def test_an_entry_that_allows_nothing_is_refused_at_start(entry: str) -> None:
    with pytest.raises(InvalidError, match="http_allowed_targets"):
        targets_of((entry,), is_shared=True)
