"""Where configuration is kept: Redis (all processes), rows (the truth, injected), a last-known-good file, memory.

What leaves the database is sealed: HMAC-SHA256 over epoch, version and JSON, so that whoever may write to Redis, or to a file,
cannot open a limit or end a maintenance.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from resilience.config import CHANNEL, Board, ConfigSource, ConfigStore, Process, Sections, Snapshot, Untrusted
from resilience.config_follower import Follower, Subscribe
from resilience.errors import StorageError
from resilience.storage.base import Storage

TAG: Final = "config"
NODES: Final = "nodes"
MAX_BYTES: Final = 1_048_576  # a snapshot is read by every process at each change (chosen)
# A process that has not reported for three polls and a bit is gone.
LEASE_S: Final = 7.0


def encode(sections: Sections) -> str:
    """Canonical JSON: the same sections are the same text, which the seal is over."""
    return json.dumps(sections, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a configuration")


class Seal:
    """`keys`: the first one signs, the others still verify, as after a change of key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) < 16 for key in keys):
            raise ValueError("keys must hold at least one key of 16 bytes or more")
        self._keys = tuple(keys)

    def of(self, epoch: int, version: int, text: str) -> str:
        return self._mac(self._keys[0], epoch, version, text)

    def open(self, epoch: object, version: object, text: object, mac: object, where: str) -> Snapshot:
        """Raises Untrusted."""
        try:
            key = int(str(epoch)), int(str(version))
        except ValueError:
            raise Untrusted(where, "epoch and version must be whole numbers") from None
        if not isinstance(text, str) or not isinstance(mac, str):
            raise Untrusted(where, "is not a sealed configuration")
        sealed = (self._mac(one, *key, text) for one in self._keys)
        if not any(hmac.compare_digest(one.encode(), mac.encode(errors="replace")) for one in sealed):
            raise Untrusted(where, "is sealed with another key, or was altered")
        try:
            sections = json.loads(text)
        except ValueError as error:
            raise Untrusted(where, f"is not JSON: {error}") from None
        return Snapshot(*key, sections)

    @staticmethod
    def _mac(key: bytes, epoch: int, version: int, text: str) -> str:
        # A lone surrogate has no bytes; what cannot be encoded cannot have been sealed by us.
        return hmac.new(key, f"{epoch}\n{version}\n{text}".encode(errors="replace"), hashlib.sha256).hexdigest()


class RedisSource:
    """The projection in a store, `resilience:{config}:current`. Its put announces the change in the same script."""

    def __init__(self, store: Storage, keys: Sequence[bytes]) -> None:
        self.name = "memory" if store.name == "memory" else "redis"
        self._store, self._seal = store, Seal(keys)
        self._held: tuple[list[int | str], Snapshot] | None = None

    def read(self) -> Snapshot | None:
        known = self._held[0][:2] if self._held is not None else [0, 0]
        epoch, version, text, mac = self._store.attempt("config_get", TAG, known)
        if not mac and [epoch, version] == known:  # what we know: its text was not sent once more
            return self._held[1] if self._held is not None else None
        if not mac and [epoch, version] == [0, 0]:
            return None
        snapshot = self._seal.open(epoch, version, text, mac, "redis")
        self._held = ([snapshot.epoch, snapshot.version], snapshot)
        return snapshot

    def put(self, snapshot: Snapshot, *, force: bool = False) -> bool:
        text = encode(snapshot.sections)
        if len(text) > MAX_BYTES:
            raise StorageError("config_put", f"the configuration has {len(text)} bytes; at most {MAX_BYTES} are allowed")
        mac = self._seal.of(*snapshot.key, text)
        channel = self._store.channel(CHANNEL)
        reply = self._store.attempt("config_put", TAG, [*snapshot.key, text, mac, channel, int(force)])
        return bool(reply[0])

    def subscribe(self, heard: Callable[[bytes], object], reconnected: Callable[[], object]) -> Callable[[], None]:
        bus = self._store.bus
        outs = (bus.subscribe(self._store.channel(CHANNEL), heard), bus.on_reconnect(reconnected))

        def unsubscribe() -> None:
            for out in outs:
                out()

        return unsubscribe


class RowsSource:
    """The truth, through a function: (epoch, version, sections) of the active row, None where there is none yet."""

    name: Final = "rows"

    def __init__(self, read: Callable[[], tuple[int, int, Sections] | None]) -> None:
        self._read = read

    def read(self) -> Snapshot | None:
        row = self._read()
        return None if row is None else Snapshot(*row)


class FileSource:
    """The last good version on this host: 0600, written beside and renamed, so that no reader sees half a file."""

    name: Final = "file"

    def __init__(self, path: str | os.PathLike[str], keys: Sequence[bytes]) -> None:
        self.path, self._seal = Path(path), Seal(keys)

    def read(self) -> Snapshot | None:
        try:
            body = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            document = json.loads(body)
        except ValueError as error:
            raise Untrusted(str(self.path), f"is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise Untrusted(str(self.path), "is not a sealed configuration")
        epoch, version, text, mac = (document.get(name) for name in ("epoch", "version", "json", "hmac"))
        return self._seal.open(epoch, version, text, mac, str(self.path))

    def put(self, snapshot: Snapshot, *, force: bool = False) -> bool:
        if not force:
            try:
                present = self.read()
            except Untrusted:
                present = None
            if present is not None and present.key >= snapshot.key:
                return False
        text = encode(snapshot.sections)
        document = {"epoch": snapshot.epoch, "version": snapshot.version, "json": text}
        document["hmac"] = self._seal.of(*snapshot.key, text)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp gives 0600; several processes of one host may write at once, each its own file.
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return True


class MemorySource:
    """One snapshot in this process, for tests and for programs without a store."""

    name: Final = "memory"

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._snapshot = snapshot

    def read(self) -> Snapshot | None:
        return self._snapshot

    def put(self, snapshot: Snapshot, *, force: bool = False) -> bool:
        if not force and self._snapshot is not None and self._snapshot.key >= snapshot.key:
            return False
        self._snapshot = snapshot
        return True


class StoreBoard:
    """Who runs which version, in the store: one hash beside the list of live nodes; whoever reports removes the dead."""

    def __init__(self, store: Storage) -> None:
        self._store = store
        self._host, self._born = socket.gethostname(), uuid.uuid4().hex[:8]

    @property
    def id(self) -> str:
        return f"{self._host}:{os.getpid()}:{self._born}"  # a forked child has a pid of its own

    def report(self, snapshot: Snapshot, source: str, problem: str) -> None:
        detail = json.dumps([self._host, os.getpid(), source, problem])
        self._store.attempt("config_seen", NODES, [self.id, round(LEASE_S * 1e6), *snapshot.key, detail])

    def processes(self) -> list[Process]:
        reply = self._store.attempt("config_seen", NODES, ["", round(LEASE_S * 1e6), 0, 0, ""])
        found = []
        for at in range(0, len(reply), 5):
            node, epoch, version, age_us, detail = reply[at : at + 5]
            try:
                host, pid, source, problem = json.loads(str(detail))
                found.append(
                    Process(
                        str(node), str(host), int(pid), int(epoch), int(version), str(source), str(problem), int(age_us) / 1e6
                    )
                )
            except (TypeError, ValueError):
                continue  # somebody else wrote there; what is ours is still shown
        return sorted(found, key=lambda one: one.id)


def follower(
    store: Storage,
    keys: Sequence[bytes],
    *,
    rows: Callable[[], tuple[int, int, Sections] | None] | None = None,
    file: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Follower:
    """The follower of a process, not started yet: its store, the rows if it can read them, and a file if it is given one."""
    projection = RedisSource(store, keys)
    truth: ConfigSource | None = None if rows is None else RowsSource(rows)
    kept: ConfigStore | None = None if file is None else FileSource(file, keys)
    board: Board = StoreBoard(store)
    subscribe: Subscribe = projection.subscribe
    return Follower(projection=projection, truth=truth, kept=kept, board=board, subscribe=subscribe, **options)
