"""The follower: keeps a process at the newest configuration, whatever of Redis, rows and messages is lost meanwhile.

A new epoch, as after a restore, is believed from the rows alone where there are rows: an old Redis that comes back must not undo
a restore. What is refused changes nothing, is said once, and never ends the listening.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from resilience import config, params, telemetry
from resilience.clock import SYSTEM, Clock
from resilience.config import LIVE, Board, ConfigSource, ConfigStore, Live, Process, Snapshot, Untrusted
from resilience.errors import ConfigConflict, ConfigError, ConfigInvalid, StorageError

POLL_S: Final = 2.0
ROWS_S: Final = 5.0  # between two readings of the rows while the projection cannot be read
# The same while it can: what a process wrote that ended before it could publish is found this way (chosen).
ROWS_CALM_S: Final = 30.0
# Whoever floods the channel must not make every process read in a loop.
GAP_S: Final = 0.05

Subscribe = Callable[[Callable[[bytes], object], Callable[[], object]], Callable[[], None]]


class Follower:
    """Keeps `live` at the newest version: listens, polls, reads anew after each reconnect; one daemon thread once started.

    `projection`: what all processes share (Redis); `truth`: the rows, if this process can read them; `kept`: the last good
    version on this host; `subscribe(heard, reconnected)`: listens on the channel and returns a way out.
    """

    def __init__(
        self,
        *,
        projection: ConfigStore | None = None,
        truth: ConfigSource | None = None,
        kept: ConfigStore | None = None,
        board: Board | None = None,
        subscribe: Subscribe | None = None,
        live: Live = LIVE,
        clock: Clock = SYSTEM,
        poll_s: float = POLL_S,
        rows_s: float = ROWS_S,
    ) -> None:
        self.projection, self.truth, self.kept, self.board = projection, truth, kept, board
        self.live, self.poll_s, self.rows_s = live, poll_s, rows_s
        self._problems: dict[str, str] = {}
        self._subscribe, self._clock = subscribe, clock
        self._rows_at: float | None = None
        self._said: set[tuple[str, str]] = set()
        self._thread: threading.Thread | None = None
        self._fresh_primitives()
        _followers.add(self)

    @property
    def problem(self) -> str:
        """Why the newest version is not run; empty while it is."""
        return "; ".join(self._problems.values())[:300]

    def _fresh_primitives(self) -> None:
        self._lock = threading.RLock()
        self._woken, self._stopping = threading.Event(), threading.Event()

    # The thread
    def start(self) -> None:
        """Applies the newest of what the sources hold, then goes on in a thread. A lost source delays, it never fails."""
        with self._lock:
            if self._thread is None:
                self.begin()
                self._go(self._stopping)
        config.set_following(self)

    def _go(self, stopping: threading.Event, *, wait: bool = False) -> None:
        self._thread = threading.Thread(target=self._run, args=(stopping, wait), name="resilience-config", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping.set()
            self._woken.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)
        self._fresh_primitives()
        if config.following() is self:
            config.set_following(None)

    def wake(self) -> None:
        """Reads soon, in the thread: something may have changed."""
        self._woken.set()

    def heard(self, message: bytes) -> None:
        """A message on the channel. It is only a hint, so one that cannot be read wakes as well."""
        try:
            epoch, version = (int(part) for part in message.split())
        except ValueError:
            epoch, version = self.live.current().epoch + 1, 0
        if (epoch, version) > self.live.current().key:
            self.wake()

    def _run(self, stopping: threading.Event, wait: bool) -> None:
        if wait:  # a forked child: whatever else is dropped after a fork must be dropped first
            self._woken.wait(self.poll_s)
        unsubscribe = self._subscribe(self.heard, self.wake) if self._subscribe is not None else None
        try:
            while not stopping.is_set():
                self._woken.clear()
                try:
                    self.poll()
                except Exception as error:  # noqa: BLE001 - the loop outlives every fault: a deaf process runs old limits for ever
                    telemetry.internal_error("config", "poll", error)
                stopping.wait(GAP_S)
                self._woken.wait(max(0.0, self.poll_s - GAP_S))
        finally:
            if unsubscribe is not None:
                unsubscribe()

    def after_fork(self) -> None:
        """The child has no thread of ours; it follows on with one of its own."""
        running = self._thread is not None
        self._fresh_primitives()
        self._thread = None
        if running:
            self._go(self._stopping, wait=True)

    # One round
    def begin(self) -> None:
        """Cold start: the newest of projection, rows and file; where rows answer, only their epoch counts."""
        with self._lock:
            truth = self._rows()
            found = [(source, self._read(source)) for source in (self.projection, self.kept) if source is not None]
            candidates = [(snapshot, source.name) for source, snapshot in found if isinstance(snapshot, Snapshot)]
            if isinstance(truth, Snapshot) and self.truth is not None:
                candidates = [(s, name) for s, name in candidates if s.epoch == truth.epoch]
                candidates.append((truth, self.truth.name))
            # Newest first; one that is refused leaves the place to the next.
            for snapshot, name in sorted(candidates, key=lambda one: one[0].key, reverse=True):
                if self._apply(snapshot, name) or self.live.current().key >= snapshot.key:
                    break

    def poll(self) -> None:
        """Reads what is due and applies what is newer."""
        with self._lock:
            seen = self._read(self.projection) if self.projection is not None else None
            rows = self._rows() if self.truth is not None and self._rows_are_due(seen) else None
            if isinstance(rows, Snapshot) and self.truth is not None:
                self._apply(rows, self.truth.name)
                self._project(rows, seen)
            if isinstance(seen, Snapshot) and self.projection is not None and self._believes(seen):
                self._apply(seen, self.projection.name)
        self._report()

    def _rows_are_due(self, seen: Snapshot | Exception | None) -> bool:
        if self._rows_at is None:
            return True
        since_s = self._clock.monotonic() - self._rows_at
        if self.projection is not None and self.projection.name == "memory":
            return True  # of this process alone: it holds what we put there, and no other's change ever reaches it
        if isinstance(seen, StorageError | OSError) or self.projection is None:
            return since_s >= self.rows_s
        if isinstance(seen, Snapshot) and seen.epoch == self.live.current().epoch:
            return since_s >= ROWS_CALM_S
        return True  # empty, not ours, or of another epoch: only the rows can tell

    def _believes(self, seen: Snapshot) -> bool:
        now = self.live.current()
        return self.truth is None or now.version == 0 or seen.epoch == now.epoch

    def _project(self, rows: Snapshot, seen: Snapshot | Exception | None) -> None:
        """Writes the rows' version where the projection is empty, older, or not ours."""
        if self.projection is None or (isinstance(seen, Exception) and not isinstance(seen, Untrusted)):
            return
        if isinstance(seen, Snapshot) and seen.key >= rows.key:
            return
        with contextlib.suppress(StorageError):  # the next round finds it missing again
            self.projection.put(rows, force=isinstance(seen, Untrusted))

    def _rows(self) -> Snapshot | Exception | None:
        if self.truth is None:
            return None
        self._rows_at = self._clock.monotonic()
        return self._read(self.truth)

    def _read(self, source: ConfigSource) -> Snapshot | Exception | None:
        self._problems.pop(source.name, None)
        try:
            return source.read()
        except ConfigInvalid as error:
            self._reject(source.name, error)
            return error
        except (StorageError, OSError) as error:
            return error
        except Exception as error:  # noqa: BLE001 - rows are read by an injected function: its driver's errors are not known here
            telemetry.internal_error("config", f"read {source.name}", error)
            return StorageError("read", type(error).__name__)

    def _apply(self, snapshot: Snapshot, source: str) -> bool:
        try:
            if not self.live.consider(snapshot, source):
                return False
        except ConfigInvalid as error:
            self._reject(source, error, snapshot)
            return False
        self._problems.clear()
        self._said.clear()
        if self.kept is not None and source != self.kept.name:
            try:
                self.kept.put(snapshot)
            except OSError as error:
                telemetry.internal_error("config", "keep", error)
        return True

    def _reject(self, source: str, error: ConfigInvalid, snapshot: Snapshot | None = None) -> None:
        self._problems[source] = f"{source}: {error}"
        what = (source, f"{snapshot.key if snapshot else ''} {error}")
        if what in self._said:  # said once, not every two seconds
            return
        self._said.add(what)
        telemetry.emit(
            "config.rejected",
            source=source,
            epoch=snapshot.epoch if snapshot else 0,
            version=snapshot.version if snapshot else 0,
            path=error.path,
            problem=error.problem,
        )

    # Who runs what
    def _report(self) -> None:
        if self.board is not None:
            with contextlib.suppress(StorageError):  # the lease of the last report runs out by itself
                self.board.report(self.live.current(), self.live.source, self.problem)

    def processes(self) -> list[Process]:
        """What each live process runs. This one alone while the others cannot be asked."""
        if self.board is not None:
            try:
                found = self.board.processes()
            except StorageError:
                found = []
            if found:
                return found
        return [config.this_process(self.live, self.problem)]

    def offer(self, snapshot: Snapshot, source: str) -> bool:
        """What this process has just written to the truth: applied and kept as if it had been read."""
        with self._lock:
            return self._apply(snapshot, source)

    def change(self, section: str, values: Mapping[str, Any]) -> Snapshot:
        """The next version, for all who share the projection. Raises ConfigInvalid, ConfigConflict, StorageError."""
        if self.truth is not None:
            raise ConfigError("the rows are the truth here: change them")
        typed = params.validate(section, values)
        with self._lock:
            present = (self.projection.read() if self.projection is not None else None) or self.live.current()
            changed = present.with_section(section, typed)
            if self.projection is not None and not self.projection.put(changed):
                actual = self.projection.read()
                raise ConfigConflict(present.version, actual.version if actual is not None else 0)
            source = "memory" if self.projection is None else self.projection.name
            self._apply(changed, source)
            return self.live.current()


# For forks alone; a follower that nobody holds may go.
_followers: weakref.WeakSet[Follower] = weakref.WeakSet()


def _after_fork() -> None:
    LIVE.forget_lock()
    for follower in list(_followers):
        follower.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
