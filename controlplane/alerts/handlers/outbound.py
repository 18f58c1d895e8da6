"""HTTP to an address that a person typed: only where it may go, to the very address that was judged, within a time, no redirects.

1. Every address that the name resolves to must be public, or listed in ALERT_WEBHOOK_ALLOW; one that is not refuses them all.
2. The connection goes to an address judged so, never to the name again: a second answer of the resolver changes nothing.
3. Plain HTTP only to what is listed.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

MAX_URL: Final = 1_000
# Bytes of an answer's body that are read at all; nothing in it matters.
MAX_ANSWER: Final = 4_096
# IPv6 whose last 32 bits are the IPv4 address it leads to: NAT64, and the oldest way of writing one.
_CARRIERS: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
# Private, though `ipaddress` calls them global: NAT64 of a network's own (before Python 3.11.10 and 3.12.4), site-local.
_PRIVATE: Final = (ipaddress.IPv6Network("64:ff9b:1::/48"), ipaddress.IPv6Network("fec0::/10"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotAllowed(ValueError):
    """The address is none that may be called; says which and why, without path or query."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """ALERT_WEBHOOK_ALLOW: names, and networks."""

    names: frozenset[str]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    def name(self, host: str) -> bool:
        return host.lower().rstrip(".") in self.names

    def address(self, address: Address) -> bool:
        return any(address in network for network in self.networks if network.version == address.version)


def allowed() -> Allowed:
    names, networks = set(), []
    for entry in getattr(settings, "ALERT_WEBHOOK_ALLOW", ()):
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            names.add(str(entry).lower().rstrip("."))
    return Allowed(frozenset(names), tuple(networks))


def parsed(url: object) -> SplitResult:
    """Raises NotAllowed for what is no address of a web server. Resolves nothing."""
    if not isinstance(url, str) or not url or len(url) > MAX_URL:
        raise NotAllowed(f"must be an address of 1 to {MAX_URL} characters")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise NotAllowed("must be plain ASCII without spaces; write an international name as xn--…")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise NotAllowed("is no address") from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise NotAllowed("must begin with https:// and name a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise NotAllowed("must hold neither a user nor a fragment")
    may = allowed()
    literal = _literal(host)
    if parts.scheme == "http" and not (may.name(host) or (literal is not None and may.address(literal))):
        raise NotAllowed("must begin with https://; plain http is for hosts in ALERT_WEBHOOK_ALLOW")
    if literal is not None:
        _judge(host, [literal], may)
    return parts


def resolved(host: str, port: int) -> list[str]:
    """The addresses that may be called. Raises NotAllowed, OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    _judge(host, [ipaddress.ip_address(text.partition("%")[0]) for text in texts], allowed())
    return texts


def post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> int:
    """The status of the answer, whatever it is. Raises NotAllowed, OSError (a time-out too), http.client.HTTPException."""
    parts = parsed(url)
    host = str(parts.hostname)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    until = time.monotonic() + timeout_s
    connection = _Pinned(host, port, resolved(host, port), until, secure=secure)
    # A server that sends a byte now and then meets every time-out of a socket: the whole attempt has an end of its own.
    watch = threading.Timer(max(0.0, until - time.monotonic()), connection.cut)
    watch.daemon = True
    watch.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        answer = connection.getresponse()
        answer.read(MAX_ANSWER)
        return answer.status
    except (OSError, http.client.HTTPException):
        if time.monotonic() >= until:
            raise TimeoutError from None
        raise
    finally:
        watch.cancel()
        connection.close()


class _Pinned(http.client.HTTPConnection):
    """Connects to the given addresses in turn; the name is for the Host header and the certificate."""

    def __init__(self, host: str, port: int, addresses: Sequence[str], until: float, *, secure: bool) -> None:
        super().__init__(host, port)
        self._addresses, self._until, self._secure = addresses, until, secure

    def connect(self) -> None:
        last: OSError = OSError("no address")
        for address in self._addresses:
            try:
                self.sock = socket.create_connection((address, self.port), self._left_s())
                break
            except OSError as error:
                last = error
        else:
            raise last
        self.sock.settimeout(self._left_s())
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

    def cut(self) -> None:
        """From the watch's thread: whoever reads or writes gets an error at once."""
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _left_s(self) -> float:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _judge(host: str, addresses: Sequence[Address], may: Allowed) -> None:
    if may.name(host):
        return
    for address in addresses:
        inner = _inner(address)
        if may.address(address) or may.address(inner):
            continue
        if not inner.is_global or inner.is_multicast or not address.is_global or any(address in network for network in _PRIVATE):
            raise NotAllowed(f"{host} is {address}, no public address; list it in ALERT_WEBHOOK_ALLOW if it is meant")


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    teredo = address.teredo
    if any(address in network for network in _CARRIERS):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
