"""Which IP addresses are the public internet, and nobody's inside.

By the IANA special-purpose registries (RFC 6890 and its updates), written out, because ``ipaddress.is_global`` differs
between Python versions and calls multicast global.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_V4 = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24
192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4
240.0.0.0/4 168.63.129.16/32
"""
"""Private, shared (CGNAT), loopback, link-local (metadata services), documentation, benchmarks, relays, multicast,
reserved; and Azure's metadata service, which has a public address."""

_V6 = "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20"
"""Inside 2000::/3: protocols (Teredo, ORCHID), documentation, 6to4, AS112."""

_BLOCKED = [ip_network(block) for block in (*_V4.split(), *_V6.split())]
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
"""What is outside is not the internet: v4-mapped, NAT64 (64:ff9b::/96), unique-local, link-local and multicast."""


def is_public(address: str) -> bool:
    """Whether a packet to this address can only reach the public internet; False too for what is no plain address."""
    if "%" in address:  # a zone: an address that means something on this machine only
        return False
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and ip not in _GLOBAL_UNICAST_V6:
        return False
    blocks: list[IPv4Network | IPv6Network] = [block for block in _BLOCKED if block.version == ip.version]
    return not any(ip in block for block in blocks)
