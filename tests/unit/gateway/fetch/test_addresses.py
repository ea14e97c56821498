"""Addresses of the public internet, and everything that only looks like one."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fetch.addresses import is_public

INSIDE = """
0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255
192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1
255.255.255.255 168.63.129.16 :: ::1 ::ffff:127.0.0.1 ::ffff:93.184.215.14 ::ffff:0:7f00:1 ::127.0.0.1
64:ff9b::7f00:1 64:ff9b::5db8:d70e 64:ff9b:1::1 100::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 2606:2800::1%1 fec0::1
ff02::1 2001::1 2001:db8::1 2002:7f00:1:: 3fff::1 4000::1
"""

NO_ADDRESSES = [
    "",
    "localhost",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "1.2.3",
    "93.184.215.14.",
    " 1.1.1.1",
]


@pytest.mark.parametrize("address", [*INSIDE.split(), *NO_ADDRESSES])
def test_inside(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111"])
def test_public(address):
    assert is_public(address)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_public_that_python_calls_private(address):
    assert not is_public(str(address)) or (address.is_global and not address.is_multicast)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_never_public(address):
    for prefix in ("::ffff:0:0", "64:ff9b::", "::"):
        assert not is_public(str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + int(address))))
