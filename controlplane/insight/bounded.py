"""Work that may hang, in a thread of its own: waited for so long and no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final, Generic, TypeVar

T = TypeVar("T")
LIMIT_S: Final = 0.2


class Bounded(Generic[T]):
    """One call at a time: while one hangs, whoever comes next waits for the same, and no thread piles up."""

    def __init__(self, name: str, work: Callable[[], T], limit_s: float = LIMIT_S) -> None:
        self._work, self._limit_s = work, limit_s
        self._lock = threading.Lock()
        self._running: Future[T] | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)

    def get(self) -> T:
        """Raises what the work raises, and TimeoutError."""
        with self._lock:
            if self._running is None or self._running.done():
                self._running = self._threads.submit(self._work)
            running = self._running
        try:
            return running.result(timeout=self._limit_s)
        except FutureTimeoutError as error:
            # Python 3.10 told this one and the work's own apart; since then they are one class.
            raise TimeoutError("took too long") from error
