"""Where a webhook may go: the rule for its URL, for the address behind it, and the URL as it may be shown. Pure.

A message chooses its callback, so whoever may submit could have tq send requests into its own network (SSRF). The
URL is looked at when the message is submitted, for an early answer; what counts is each address that its name has
when a request is sent, which goes to just that address.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

MAX_URL: Final = 2048
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A last label that begins with a digit would be an address in one of its odd forms: 2130706433, 0x7f.1, 127.1.
_NAME: Final = rf"(?:{_LABEL}\.)*[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?"
_PORT: Final = r"(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
_REST: Final = r"(?:[/?](?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
#: What is always taken; addresses, and http, may be.
NAMED_PATTERN: Final = rf"^https://{_NAME}{_PORT}{_REST}$"
#: Names of this machine itself (RFC 6761, section 6.3).
LOCAL_PATTERN: Final = r"^https://([^/?:]*\.)?[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt](?![A-Za-z0-9._-])"
_URL: Final = re.compile(rf"https?://(?:{_NAME}|(?:{_OCTET}\.){{3}}{_OCTET}|\[[0-9A-Fa-f:.]{{2,45}}\]){_PORT}{_REST}")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


#: Link-local, and where clouds tell a machine its own secrets.
_METADATA: Final = _networks(
    "169.254.0.0/16",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
)
#: Nobody's receiver: these, and what is unspecified, multicast or reserved.
_NEVER: Final = _METADATA + _networks(
    "0.0.0.0/8",
    "224.0.0.0/3",
    "::/128",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
)
#: Not reachable from everywhere (IANA's registries of special-purpose addresses), as far as it is unicast.
_PRIVATE: Final = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
)
#: Of IPv6, all that is given out to be reached (RFC 4291, section 2.4, and IANA's registry).
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
#: The well-known prefix of NAT64: what is in it goes to the IPv4 address at its end (RFC 6052).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
#: What may go to the IPv4 address at its end, too: IPv4-compatible addresses (RFC 4291, section 2.5.5.1), translated
#: ones (RFC 2765), and networks' own NAT64 (RFC 8215), which may also have it further to the left.
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_TRANSLATED: Final = ipaddress.IPv6Network("::ffff:0:0:0/96")
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
#: Where it is behind a prefix of 48, 56 and 64 bits: the bytes, of which the ninth is not used (RFC 6052, section 2.2).
_EMBEDDED: Final = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12))
_LAST_32: Final = 0xFFFFFFFF
_LOOPBACK: Final = ipaddress.IPv6Address("::1")


def is_refused(text: str, *, private: bool) -> bool:
    """Whether nothing is sent to an address; to a private one only with ``private`` (TQ_CALLBACK_PRIVATE)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return _is_refused(address, private=private)
    if address.scope_id is not None:
        return True
    if address in _NAT64:
        return _is_refused(ipaddress.IPv4Address(int(address) & _LAST_32), private=private)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ()), _at_the_end(address)]
    if any(each is not None and _is_refused(each, private=private) for each in inner):
        return True
    return _is_refused(address, private=private) or _leads_to_metadata(address)


def _at_the_end(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address of these kinds ends with."""
    if address == _LOOPBACK or not any(address in each for each in (_COMPATIBLE, _TRANSLATED, _LOCAL_NAT64)):
        return None
    return ipaddress.IPv4Address(int(address) & _LAST_32)


def _leads_to_metadata(address: ipaddress.IPv6Address) -> bool:
    """Whether a network's own NAT64, of whatever prefix, could make such an address of it."""
    if address not in _LOCAL_NAT64:
        return False
    embedded = (ipaddress.IPv4Address(bytes(address.packed[n] for n in places)) for places in _EMBEDDED)
    return any(each in network for each in embedded for network in _METADATA)


def _is_refused(address: _Address, *, private: bool) -> bool:
    if any(address in network for network in _NEVER):
        return True
    if private:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL:
        return True
    return any(address in network for network in _PRIVATE)


@dataclass(frozen=True, slots=True)
class Target:
    """A callback's URL in parts; not to be shown.

    Attributes:
        scheme: ``https`` or ``http``.
        host: a name in lower case, or an address without brackets.
        port: of the receiver.
        path: what the request asks for, query included.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as a URL has them, the port also where it is the usual one."""
        return f"{self._host}:{self.port}"

    @property
    def host_header(self) -> str:
        """As RFC 9110, section 7.2, wants it: without the scheme's own port."""
        return self._host if self.port == _PORTS[self.scheme] else self.authority

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def is_address(self) -> bool:
        """Whether the host is an address, which has no name to look up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


_PORTS: Final = {"https": 443, "http": 80}


def target(url: str) -> Target:
    """The parts of a URL that ``check_url`` has let pass."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if "?" in url else "")
    return Target(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme], path)


def check_url(value: str) -> str:
    """A URL that could be called back, wherever it leads.

    Raises:
        ValueError: it is none; what is wrong, without the URL.
    """
    if len(value) > MAX_URL:
        raise ValueError(f"must not be longer than {MAX_URL} characters")
    if "@" in value.partition("://")[2].partition("/")[0].partition("?")[0]:
        raise ValueError("must not hold a user or a password")
    if "#" in value:
        raise ValueError("must not have a fragment (#)")
    if not _URL.fullmatch(value):
        raise ValueError(
            "must be https://host/path in ASCII: a name, or an address in its usual form, and what else is in it "
            "percent-encoded"
        )
    if value.partition("://")[2].startswith("["):
        try:
            ipaddress.IPv6Address(value.partition("[")[2].partition("]")[0])
        except ValueError:
            raise ValueError("must have an IPv6 address between [ and ]") from None
    return value


def why_refused(url: str, *, private: bool) -> str:
    """Why nothing will be sent to a URL, as far as that shows before its name is looked up; "" when it does not."""
    to = target(url)
    if to.scheme == "http" and not private:
        return "must begin with https://"
    local = to.host == "localhost" or to.host.endswith(".localhost")
    if (local and not private) or (to.is_address and is_refused(to.host, private=private)):
        return "must not lead to a private address"
    return ""


#: The beginning of a path that is shown: a short word. What is longer, or has more to it, may be a key.
_WORD: Final = re.compile(r"[A-Za-z0-9._~-]{0,16}")


def shown(url: str) -> str:
    """A URL without what may be secret in it: the path from its second part on, and the values of its query.

    Who knows the path of a Slack or Discord webhook may write there.
    """
    head, question, query = url.partition("?")
    scheme, separator, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    first, more, others = path.partition("/")
    path = (first + more + ("…" if others else "")) if _WORD.fullmatch(first) else "…"
    fields = [f"{name}=***" if equals else "***" for name, equals, _ in (f.partition("=") for f in query.split("&"))]
    return scheme + separator + authority + slash + path + question + ("&".join(fields) if query else "")
