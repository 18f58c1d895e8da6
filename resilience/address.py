"""Where a Redis is: the parts of its URL, read once, with errors that never repeat a password."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import unquote

Kind = Literal["standalone", "unix", "sentinel", "cluster"]

# Scheme: what it says the server is, and whether TLS is spoken.
SCHEMES: Final[dict[str, tuple[Kind, bool]]] = {
    "redis": ("standalone", False),
    "rediss": ("standalone", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_LOGIN: Final = ("username", "password")
_SENTINEL: Final = ("sentinel_username", "sentinel_password")
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_CERT_REQS: Final = ("required", "optional", "none")
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Address:
    """A Redis as its URL names it. `hosts`: one, or the seeds of a cluster, or the sentinels; empty for a unix socket."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)  # some write the password alone before the @
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_options: tuple[tuple[str, str | bool], ...] = ()
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)

    def at(self, host: str, port: int) -> Address:
        """One server of this cluster or behind these sentinels: the same login and TLS, another place."""
        return replace(self, kind="standalone", hosts=((host, port),), path="", service="")

    def __str__(self) -> str:
        """The URL with `***` for login and password; of the options nothing."""
        scheme = next(s for s, (kind, tls) in SCHEMES.items() if kind == self.kind and tls == self.tls)
        login = "***@" if self.username or self.password else ""
        if self.kind == "unix":
            return f"{scheme}://{login}{self.path}" + (f"?db={self.db}" if self.db else "")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        path = f"{self.service}/{self.db}" if self.kind == "sentinel" else "" if self.kind == "cluster" else str(self.db)
        return f"{scheme}://{login}{hosts}/{path}"


Url = str | Address


def default_url() -> str:
    """REDIS_URL of Django's settings where they are in use, else of the environment; empty without one."""
    conf = sys.modules.get("django.conf")
    if conf is not None and conf.settings.configured:
        told = getattr(conf.settings, "REDIS_URL", None)
        if told is not None:
            return str(told)
    return os.environ.get("REDIS_URL", "").strip()


def resolve(url: object) -> Address:
    """As parse(), with None for the default. Raises ValueError where there is none."""
    if url is None:
        url = default_url()
        if not url:
            raise ValueError("no Redis URL was given and REDIS_URL is not set")
    return parse(url)


def parse(url: object) -> Address:
    """Raises ValueError that says what is wrong, and never repeats the value: a slip may have put the password anywhere in it."""
    if isinstance(url, Address):
        return url
    if not isinstance(url, str):
        raise ValueError(f"a Redis URL is text, not {type(url).__name__}")
    scheme, mark, rest = url.strip().partition("://")
    if not mark or scheme.lower() not in SCHEMES:
        raise ValueError(f"a Redis URL begins with {', '.join(f'{name}://' for name in SCHEMES)}")
    if any(character.isspace() or not character.isprintable() for character in rest):
        raise ValueError("a Redis URL holds no blanks and no control characters: percent-encode them")
    kind, tls = SCHEMES[scheme.lower()]
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    login, at, places = authority.rpartition("@")
    if not at and "@" in (query if kind == "unix" else path + query):
        # The first / or ? ended the authority too early, so what follows is a part of the password.
        raise ValueError("a Redis URL has an @ after its host: percent-encode / and ? and @ in the password (%2F, %3F, %40)")
    options = _options(query, kind, tls)
    username, password = _login(login, options)
    address = Address(
        kind,
        tls=tls,
        username=username,
        password=password,
        tls_options=tuple((name, _tls_value(name, options[name])) for name in _TLS if name in options),
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )
    if kind == "unix":
        if places or not path:
            raise ValueError("a unix:// URL names the socket by its whole path: unix:///run/redis.sock")
        return replace(address, path=unquote(slash + path), db=_db(options.get("db", "")))
    default = 26379 if kind == "sentinel" else 6379
    hosts = tuple(_host(place, number, default) for number, place in enumerate(places.split(","), 1))
    if kind == "standalone" and len(hosts) > 1:
        raise ValueError("a redis:// URL names one host; for several there are redis+cluster:// and redis+sentinel://")
    service = ""
    if kind == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("a redis+sentinel:// URL names the service after its hosts: redis+sentinel://h1,h2/mymaster/0")
    if path and "db" in options:
        raise ValueError("a Redis URL names its database once: in the path or as ?db=")
    db = _db(path or options.get("db", ""))
    if kind == "cluster" and db:
        raise ValueError("a cluster has no databases but 0")
    return replace(address, hosts=hosts, service=unquote(service), db=db)


def masked(url: object) -> str:
    """The URL for people and logs: no login, no password, no options. What cannot be read is hidden whole."""
    try:
        return str(parse(url))
    except ValueError:
        return "***"


def _options(query: str, kind: Kind, tls: bool) -> dict[str, str]:
    allowed = ("db", *_LOGIN, *(_TLS if tls else ()), *(_SENTINEL if kind == "sentinel" else ()))
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if name not in allowed:
            # The name is not repeated either: behind an unencoded ? in a password stands the rest of it.
            hint = " (ssl_… belong to rediss://)" if name in _TLS else ""
            raise ValueError(
                f"a Redis URL of this kind takes the options {', '.join(allowed)}; one of its others is unknown{hint}"
            )
        if name in options:
            raise ValueError(f"a Redis URL names the option {name} twice")
        options[name] = unquote(value)
    return options


def _login(login: str, options: Mapping[str, str]) -> tuple[str | None, str | None]:
    if login and any(name in options for name in _LOGIN):
        raise ValueError("a Redis URL names its login once: before the @ or as options")
    username, _, password = login.partition(":")
    return unquote(username) or options.get("username"), unquote(password) or options.get("password")


def _host(place: str, number: int, default_port: int) -> tuple[str, int]:
    if place.startswith("["):
        host, mark, port = place[1:].partition("]")
        if not mark or (port and not port.startswith(":")):
            raise ValueError(f"host {number} of a Redis URL is no IPv6 address in brackets: [::1]:6379")
        port = port[1:]
    else:
        host, _, port = place.partition(":")
    if not host:
        raise ValueError(f"host {number} of a Redis URL is empty")
    try:
        host.encode("idna")
    except UnicodeError:
        # The resolver would raise this at the first connect, and it is no OSError.
        raise ValueError(f"host {number} of a Redis URL is no name a resolver takes") from None
    if not port:
        return host, default_port
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536 and len(port) < 6):
        raise ValueError(f"the port of host {number} of a Redis URL is no number from 1 to 65535")
    return host, int(port)


def _db(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ValueError("the database of a Redis URL is no number: redis://host:6379/0")
    return int(text)


def _tls_value(name: str, text: str) -> str | bool:
    if name == "ssl_check_hostname":
        if text.lower() not in _FLAGS:
            raise ValueError("ssl_check_hostname in a Redis URL takes true or false")
        return _FLAGS[text.lower()]
    if name == "ssl_cert_reqs" and text not in _CERT_REQS:
        raise ValueError(f"ssl_cert_reqs in a Redis URL takes {', '.join(_CERT_REQS)}")
    if not text:
        raise ValueError(f"{name} in a Redis URL is empty")
    return text


def connection_options(address: Address) -> dict[str, Any]:
    """What redis-py's connections take for login and TLS, whatever the server's place."""
    options: dict[str, Any] = {"username": address.username, "password": address.password}
    if address.tls:
        options |= dict(address.tls_options)
        if options.get("ssl_cert_reqs") == "none":
            options.setdefault("ssl_check_hostname", False)  # ssl refuses to check a name on a certificate that it ignores
    return options
