"""What a job's work is given: its arguments, a way to tell how far it is, and the word that it must stop."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from permissions.writing import Actor

# Lines kept of one run, and characters of a line: the row stays some ten kilobytes. The oldest go, and are counted.
MOST_LINES: Final = 200
MOST_CHARACTERS: Final = 300


class Stopped(Exception):
    """Ends a job's work from within; the runner says what became of the run."""


class Cancelled(Stopped):
    """A person wants it to end."""


class Ending(Stopped):
    """The process ends: the run is put back for another worker."""


class Lost(Stopped):
    """The run is another attempt's by now, or may be: nothing may be written for it any more."""


class Context:
    """One attempt at a run. Its work calls `check` between parts of at most a second or so."""

    def __init__(
        self,
        run_id: str,
        attempt: int,
        *,
        arguments: Mapping[str, Any],
        actor: Actor,
        reason: str,
        request_id: str,
        key: str,
        finish: Callable[[dict[str, Any]], None],
        log: list[list[str]] | None = None,
        ending: threading.Event | None = None,
    ) -> None:
        self.run_id, self.attempt = run_id, attempt
        self.arguments, self.actor, self.reason, self.request_id = arguments, actor, reason, request_id
        self.key = key
        self.done = self.total = 0
        self.step = ""
        self.lines: list[list[str]] = list(log or ())
        self.dropped = 0
        # The end is written in the transaction of the work itself: silence of the heartbeat, whose database may be locked by this
        # very transaction, then proves nothing.
        self.is_fenced = False
        self.is_finished = False
        self.cancelled = threading.Event()
        self.lost = threading.Event()
        self.silent = threading.Event()
        self._ending = ending or threading.Event()
        self._finish = finish
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises Lost, Cancelled, Ending."""
        if self.lost.is_set() or (self.silent.is_set() and not self.is_fenced):
            raise Lost
        if self.cancelled.is_set():
            raise Cancelled
        if self._ending.is_set():
            raise Ending

    def progress(self, done: int, total: int, step: str = "") -> None:
        """How far it is; then as `check`."""
        with self._lock:
            self.done, self.total = done, total
            if step:
                self.step = step[:300]
        self.check()

    def log(self, text: str) -> None:
        """A line that whoever looks at the job reads."""
        at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        with self._lock:
            self.lines.append([at, text.replace("\x00", "")[:MOST_CHARACTERS]])
            if len(self.lines) > MOST_LINES:
                self.dropped += len(self.lines) - MOST_LINES
                del self.lines[: len(self.lines) - MOST_LINES]

    def wait(self, seconds: float) -> None:
        """Sleeps, but not past a word to stop; then as `check`."""
        self.cancelled.wait(seconds)
        self.check()

    def finish(self, result: dict[str, Any]) -> None:
        """Marks the run done in the transaction that is open: what the work wrote and this commit or go together. Raises Lost."""
        self._finish(result)
        self.is_finished = True

    def snapshot(self) -> dict[str, Any]:
        """For the row, all of one moment."""
        with self._lock:
            return {
                "done": self.done,
                "total": self.total,
                "step": self.step,
                "log": [list(line) for line in self.lines],
                "log_dropped": self.dropped,
            }
