"""The maintenance switch, read from the local snapshot: no round trip, and still on when Redis is lost or the process restarts.

Two gates ask `active(...)`: the door by path and address, the decision point by permission. What is declared by `never` is never
behind it, so that nobody is locked out of the switch itself; `exempt()` carries an exemption of the door to whatever it calls.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import math
import random
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from resilience import config, params, telemetry
from resilience.clock import SYSTEM, Clock
from resilience.config import LIVE, Live, Snapshot
from resilience.errors import ConfigInvalid, MaintenanceMode

# Its own, for a thread of ours must not move the sequence that a program has seeded for itself.
_draw = random.Random()  # noqa: S311 - it spreads a load, it guards nothing

Mode = Literal["off", "read_only", "full"]
Writer = Callable[[Mapping[str, Any], str], object]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SECTION: Final = "maintenance"
# Seconds until callers of an open-ended maintenance ask again: soon enough to notice its end, rare enough to be no load (chosen).
OPEN_END_RETRY_S: Final = 60.0
TRY_AGAIN_LATER: Final = 1013  # WebSocket close code, RFC 6455 registry
_LEVEL: Final[Mapping[str, int]] = {"off": 0, "read_only": 1, "full": 2}
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class Status:
    """What is switched on. `until`: seconds since 1970. `paths` and `permissions` narrow it; both empty: everything."""

    mode: Mode = "off"
    reason: str = ""
    until: float | None = None
    allow: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    networks: tuple[Network, ...] = field(default=(), repr=False, compare=False)

    @property
    def on(self) -> bool:
        return self.mode != "off"

    def as_values(self) -> dict[str, Any]:
        """As the section of the live configuration holds it."""
        return {
            "mode": self.mode,
            "reason": self.reason,
            "until": self.until,
            "allow": list(self.allow),
            "paths": list(self.paths),
            "permissions": list(self.permissions),
        }


def status_of(values: Mapping[str, Any]) -> Status:
    """From typed values of the section; what is not given is as by default."""
    filled = {**params.section_of(SECTION).defaults(), **values}
    return Status(**filled, networks=tuple(ipaddress.ip_network(text) for text in filled["allow"]))


def path_within(path: str, prefix: str) -> bool:
    """By whole segments: `/api/v1` covers `/api/v1/roles/`, not `/api/v10`."""
    bare = prefix.rstrip("/")
    return path == bare or path.startswith(bare + "/")


def permission_within(permission: str, pattern: str) -> bool:
    return permission.startswith(pattern[:-1]) if pattern.endswith("*") else permission == pattern


class Switch:
    """The switch of one process. The module's functions are those of the process's own."""

    def __init__(self, live: Live = LIVE, clock: Clock = SYSTEM) -> None:
        self._live, self._clock = live, clock
        # Read by hot paths: None, the common case, spares them every look at paths and times.
        self.on: Status | None = None
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._never: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
        live.subscribe_applied(self._applied)

    # Reading
    def active(
        self, path: str | None = None, permission: str | None = None, address: str | None = None, write: bool = False
    ) -> MaintenanceMode | None:
        """Why this may not be done now, ready to be raised; None when it may. Name what is known of the call."""
        on = self.on
        if on is None:
            return None
        left_s: float | None = None
        if on.until is not None:
            left_s = on.until - self._clock.now_us() / 1e6
            if left_s <= 0:
                self._ended(on)
                return None
        if on.mode == "read_only" and not write:
            return None
        if _exempted.get() or self._is_never(path, permission) or _within_networks(address, on.networks):
            return None
        if (on.paths or on.permissions) and not _narrowed(on, path, permission):
            return None
        return MaintenanceMode(on.reason, on.until, retry_after_s=OPEN_END_RETRY_S if left_s is None else left_s)

    def exempts(self, path: str | None = None, address: str | None = None) -> bool:
        """Whether what is declared by `never`, or the allow-list, lets this through whatever is switched on."""
        on = self.on
        return self._is_never(path, None) or (on is not None and _within_networks(address, on.networks))

    def status(self) -> Status:
        """What is switched on now. One whose end has passed is off."""
        return self.effective(self._live.current().section(SECTION))

    def effective(self, values: Mapping[str, Any]) -> Status:
        """The same for given values of the section."""
        found = status_of(values)
        if found.on and found.until is not None and found.until <= self._clock.now_us() / 1e6:
            return Status(allow=found.allow, networks=found.networks)
        return found

    def _is_never(self, path: str | None, permission: str | None) -> bool:
        for paths, permissions in self._never:
            if path is not None and any(path_within(path, prefix) for prefix in paths):
                return True
            if permission is not None and any(permission_within(permission, pattern) for pattern in permissions):
                return True
        return False

    def never(self, paths: Iterable[str] = (), permissions: Iterable[str] = ()) -> Callable[[], None]:
        """Declares what is never behind the switch. Returns a way out."""
        entry = (tuple(params.path_text(path) for path in paths), tuple(permissions))
        with self._lock:
            self._never = (*self._never, entry)

        def forget() -> None:
            with self._lock:
                self._never = tuple(other for other in self._never if other is not entry)

        return forget

    # Switching
    def set_writer(self, writer: Writer | None) -> None:
        """`writer(values, reason)` writes the section where the truth is; without one, `config.change` does."""
        self._writer = writer

    def enable(
        self,
        reason: str,
        until: float | str | dt.datetime | None = None,
        mode: Literal["full", "read_only"] = "full",
        allow: Iterable[str] = (),
        *,
        paths: Iterable[str] = (),
        permissions: Iterable[str] = (),
    ) -> None:
        """Raises ConfigInvalid naming the value that is wrong."""
        if mode not in ("full", "read_only"):
            raise ConfigInvalid("maintenance.mode", "must be full or read_only; disable() ends it")
        values = {"mode": mode, "reason": reason, "until": until, "allow": allow, "paths": paths, "permissions": permissions}
        self._write(self.wanted(values), reason)

    def disable(self, reason: str = "") -> None:
        self._write({"mode": "off"}, reason or "maintenance ended")

    def wanted(self, values: object) -> dict[str, Any]:
        """The values of a new switching, checked: those of the section, and an end that is still to come."""
        if isinstance(values, Mapping):
            values = {name: _given(value) for name, value in values.items()}
        typed = params.validate(SECTION, values)
        until = typed.get("until")
        if typed.get("mode", "off") != "off" and until is not None and until <= self._clock.now_us() / 1e6:
            raise ConfigInvalid("maintenance.until", "lies in the past")
        return typed

    def _write(self, values: Mapping[str, Any], reason: str) -> None:
        if self._writer is not None:
            self._writer(values, reason)
        else:
            config.change(SECTION, values)

    # Being told
    def _applied(self, snapshot: Snapshot) -> None:
        found = status_of(snapshot.section(SECTION))
        ended = found.until is not None and found.until <= self._clock.now_us() / 1e6
        with self._lock:
            before, self.on = self.on, found if found.on and not ended else None
            now = self.on
        if now != before:
            _tell(now)

    def _ended(self, on: Status) -> None:
        with self._lock:
            if self.on is not on:
                return
            self.on = None
        _tell(None)


def _tell(now: Status | None) -> None:
    telemetry.gauge("resilience_maintenance_mode", 0 if now is None else _LEVEL[now.mode])
    if now is None:
        telemetry.emit("maintenance.off")
    else:
        telemetry.emit("maintenance.on", mode=now.mode, reason=now.reason, until=now.until)


def _given(value: object) -> object:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return value
    return list(value)


def _narrowed(on: Status, path: str | None, permission: str | None) -> bool:
    """Whether the call is among those that a narrower maintenance means."""
    if path is not None and any(path_within(path, prefix) for prefix in on.paths):
        return True
    return permission is not None and any(permission_within(permission, pattern) for pattern in on.permissions)


def _within_networks(address: str | None, networks: tuple[Network, ...]) -> bool:
    if address is None or not networks:
        return False
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False  # a unix socket's peer, or a header nobody should have believed
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


_exempted: ContextVar[bool] = ContextVar("maintenance_exempted", default=False)


@contextlib.contextmanager
def exempt() -> Iterator[None]:
    """Whatever runs inside was let through by the door: the decision point asks no second time."""
    token = _exempted.set(True)
    try:
        yield
    finally:
        _exempted.reset(token)


def is_write(method: str) -> bool:
    """By the HTTP method; a door that knows POSTs which only ask says so itself."""
    return method.upper() not in _SAFE_METHODS


# Answering
def message(error: MaintenanceMode) -> str:
    """One line for people and programs: the reason and the end."""
    text = f"Under maintenance: {error.reason}"
    if error.until is not None:
        text += f" (until {moment_text(error.until)})"
    return text


def moment(error: MaintenanceMode) -> dt.datetime | None:
    """The end, for templates; None for an open one."""
    return None if error.until is None else dt.datetime.fromtimestamp(error.until, dt.UTC)


def moment_text(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def retry_after(error: MaintenanceMode) -> int:
    """Whole seconds, never before the end; up to a tenth later, or everybody would come back in the same second."""
    wait_s = max(1.0, error.retry_after_s or OPEN_END_RETRY_S)
    return math.ceil(wait_s + _draw.uniform(0, wait_s / 10))


def problem(error: MaintenanceMode) -> bytes:
    """The body for `application/problem+json`, RFC 9457."""
    document: dict[str, Any] = {
        "type": "/problems/maintenance",
        "title": "Under maintenance",
        "status": 503,
        "detail": message(error),
        "reason": error.reason,
        "until": None if error.until is None else moment_text(error.until),
    }
    return json.dumps(document, ensure_ascii=False).encode()


async def refuse(scope: Mapping[str, Any], send: Send, error: MaintenanceMode, body: bytes, content_type: str) -> None:
    """Answers an ASGI request, or the handshake of a WebSocket, with 503; where a handshake can have no answer, 1013."""
    headers = [
        (b"content-type", content_type.encode("latin-1")),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(retry_after(error)).encode()),
        (b"cache-control", b"no-store"),
    ]
    before = ""
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            # A close frame has room for 123 bytes of reason.
            reason = message(error).encode()[:120].decode(errors="ignore")
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": reason})
            return
        before = "websocket."
    await send({"type": f"{before}http.response.start", "status": 503, "headers": headers})
    await send({"type": f"{before}http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})


SWITCH: Final = Switch()
active = SWITCH.active
status = SWITCH.status
never = SWITCH.never
enable = SWITCH.enable
disable = SWITCH.disable
wanted = SWITCH.wanted
set_writer = SWITCH.set_writer
