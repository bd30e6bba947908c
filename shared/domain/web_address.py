"""Which web addresses we are ready to call: https, a public name or a public IP literal, nothing hidden in them.

This is what can be told from the text alone. Whoever calls the address must also check what the name resolves to,
with `is_public`, and connect to exactly that.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

_VISIBLE_ASCII = re.compile(r"[!-~]+")
_NAME = re.compile(r"(?=.{4,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}")
# Resolvers read 2130706433, 0x7f.1 and 017700000001 as IPv4 addresses; the last part decides,
# https://url.spec.whatwg.org/#ends-in-a-number-checker.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
# Names that lead to the caller's own machine or network: RFC 6761, RFC 6762, RFC 8375, and the metadata server's zone.
_INNER_ZONES = ("localhost", "local", "internal", "home.arpa")
# IPv6 ranges that wrap an IPv4 address: mapped, compatible, NAT64 (RFC 6052, RFC 8215), Teredo, 6to4.
_WRAPPERS = tuple(
    map(IPv6Network, ("::/95", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"))
)


def address_problem(url: str) -> str | None:
    """Return why *url* must not be called, as the rest of a sentence that starts with a field's name; None if it may.

    The reason never repeats the address, which may hold a token.
    """
    if _VISIBLE_ASCII.fullmatch(url) is None or "\\" in url:
        return "must be an address in plain ASCII without blanks or backslashes"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "must be a well-formed https address"
    if parts.scheme != "https" or not host:
        return "must be an https address"
    if "@" in parts.netloc:
        return "must not have a user name or password in it"
    if port == 0:
        return "must not have the port 0"
    return _host_problem(host.lower())


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is on the public internet: not private, loopback, link-local, metadata, reserved, wrapped."""
    if isinstance(address, IPv6Address) and any(address in network for network in _WRAPPERS):
        return False
    return address.is_global and not address.is_multicast


def _host_problem(host: str) -> str | None:
    try:
        return None if is_public(ip_address(host)) else "must not lead to a private, local or reserved address"
    except ValueError:
        pass
    name = host.removesuffix(".")
    if _ENDS_IN_NUMBER.fullmatch(name):
        return "must not write an IP address in an unusual form"
    if any(name == zone or name.endswith(f".{zone}") for zone in _INNER_ZONES):
        return "must not lead to a name that is not public"
    return None if _NAME.fullmatch(name) else "must have a full public host name, such as hooks.shop.com"
