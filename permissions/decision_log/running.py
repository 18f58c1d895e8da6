"""The one writer thread of a process: decisions from the buffer become lines, go to the sink, and what is lost is told."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from redis.exceptions import RedisError

from permissions.decision_log import sinks
from permissions.decision_log.buffer import BUFFER, ON
from permissions.decision_log.lines import lines_of
from permissions.decision_log.options import OFF, Options, options_of
from permissions.params import DECISION_LOG
from resilience import config, telemetry
from resilience.config import Snapshot

log = logging.getLogger("permissions.decision_log")

# Lines at once. Making one takes about 3 µs during which no other thread runs Python: so many keep nobody waiting for long.
BATCH: Final = 256
# Seconds: between two looks at the buffer, and while the log is off.
LOOK_S: Final = 0.05
REST_S: Final = 0.5
# Seconds between two tries of a sink that failed, doubling.
RETRY_S: Final = 0.2
MAX_RETRY_S: Final = 5.0
# Seconds that a stop waits for the rest to go out.
STOP_S: Final = 2.0
# Seconds without a further loss after which the next one is told again.
QUIET_S: Final = 60.0
_LINES: Final = "permission_decision_log_lines_total"


class Writer:
    """`make` builds the sink of some options, and `clock` is monotonic: both for tests."""

    def __init__(
        self,
        make: Callable[[Options], sinks.Sink | None] = sinks.sink_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._clock = make, clock
        self.options = OFF
        self._sink: sinks.Sink | None = None
        self._sink_of = OFF
        self._pending: list[bytes] = []
        self._retry_at_s = 0.0
        self._retry_s = RETRY_S
        self._prefix = secrets.token_hex(6)
        self._number = 0
        self._lost_at_s = -QUIET_S
        self._is_failing = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def ensure(self) -> None:
        """Begins the thread where there is none."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._ended.clear()
                # A daemon: a process must be able to end while a pipe that nobody reads holds the thread up.
                self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Hands out what waits, for a moment at most; what is then left is counted as lost."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ended.set()
        thread.join(STOP_S + 1.0)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S if ON.is_logged else REST_S):
            self._turn()
        until_s = self._clock() + STOP_S
        while (self._pending or BUFFER.entries) and self._clock() < until_s:
            self._retry_at_s = 0.0
            if not self._turn():
                time.sleep(LOOK_S)
        left = len(self._pending) + len(BUFFER.take(len(BUFFER.entries)))
        self._pending = []
        self._lose(left, "failed")
        self._close()

    def _turn(self) -> bool:
        """Everything that waits, while the sink takes it. No fault ends the thread."""
        try:
            while self.turn():
                pass
        except Exception as error:  # noqa: BLE001 - outermost handler of the thread
            telemetry.internal_error("decision_log", "writer", error)
            self._lose(len(self._pending), "failed")
            self._pending = []
            return False
        return not self._pending

    def turn(self) -> bool:
        """One batch. Whether there may be more."""
        self._lose(BUFFER.take_dropped(), "dropped")
        if not self._pending:
            taken = BUFFER.take(BATCH)
            if not taken:
                return False
            self._pending, broken = lines_of(taken, self._prefix, self._number, self.options)
            self._number += len(taken)
            self._lose(broken, "failed")
        if self._clock() < self._retry_at_s:
            return False
        return self._hand_out()

    def _hand_out(self) -> bool:
        options = self.options
        try:
            if self._sink is None or self._sink_of is not options:
                self._close()
                self._sink, self._sink_of = self._make(options), options
            if self._sink is not None:
                self._sink.write(self._pending)
        except (OSError, RedisError, ValueError) as error:
            self._retry_at_s = self._clock() + self._retry_s
            self._retry_s = min(self._retry_s * 2, MAX_RETRY_S)
            if not self._is_failing:  # told once, until it works again
                self._is_failing = True
                log.warning("the decision log cannot be written to its %s: %s", options.sink, error)
                telemetry.emit("decision_log.failing", sink=options.sink, error=type(error).__name__)
            return False
        telemetry.count(_LINES, "written", by=len(self._pending))
        self._pending = []
        self._retry_at_s, self._retry_s = 0.0, RETRY_S
        if self._is_failing:
            self._is_failing = False
            telemetry.emit("decision_log.recovered", sink=options.sink)
        return True

    def _lose(self, number: int, how: str) -> None:
        if not number:
            return
        telemetry.count(_LINES, how, by=number)
        now_s = self._clock()
        if now_s - self._lost_at_s >= QUIET_S:
            log.warning("the decision log has lost %d decisions; the counter %s tells how many more", number, _LINES)
            telemetry.emit("decision_log.lost", number=number, how=how)
        self._lost_at_s = now_s

    def _close(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            try:
                sink.close()
            except (OSError, RedisError) as error:
                log.info("the sink of the decision log did not close: %s", error)

    def begin_anew(self) -> None:
        """In a forked child: no thread, and none of the parent's lines. Its sink is left alone; a new one is opened."""
        self._thread, self._ended, self._lock = None, threading.Event(), threading.Lock()
        self._sink, self._pending, self._retry_at_s = None, [], 0.0
        self._prefix, self._number = secrets.token_hex(6), 0


class _Running:
    def __init__(self) -> None:
        self.writer = Writer()
        self.lock = threading.Lock()
        self.way_out: Callable[[], None] | None = None


_running: Final = _Running()


def start() -> None:
    """Follows the live configuration: the log is on while its section names a sink. Twice is once."""
    with _running.lock:
        if _running.way_out is None:
            _running.way_out = config.subscribe_applied(_apply)
    _apply(config.current())


def stop() -> None:
    """No more is taken; what waits is handed out, for two seconds at most."""
    with _running.lock:
        way_out, _running.way_out = _running.way_out, None
    if way_out is not None:
        way_out()
    _switch(OFF)
    _running.writer.stop()


def _apply(snapshot: Snapshot) -> None:
    _switch(options_of(snapshot.section(DECISION_LOG.name)))


def _switch(options: Options) -> None:
    if options.sink == "off":
        # The writer keeps its options: what was noted before the change still goes where it was to go.
        ON.is_logged = False
        ON.set()
        return
    if ON.is_logged and options == _running.writer.options:
        return
    _running.writer.options = options
    ON.ratio, ON.are_denials_sure, ON.has_attributes = options.sample_ratio, options.always_denied, options.attributes
    BUFFER.wake = None
    _running.writer.ensure()
    ON.is_logged = True
    ON.set()


def _after_fork() -> None:
    """The child has no writer: its first note begins one."""
    BUFFER.begin_anew()
    _running.writer.begin_anew()
    _running.lock = threading.Lock()
    if ON.is_logged:
        BUFFER.wake = _wake_in_child


def _wake_in_child() -> None:
    BUFFER.wake = None
    _running.writer.ensure()


os.register_at_fork(after_in_child=_after_fork)
