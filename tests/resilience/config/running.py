"""Starting those processes, and waiting for what they say."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
# Seconds. What a loaded machine may need; no claim is made of it.
PATIENCE_S = 40.0


class Running:
    """One process. `lines`: everything it has said."""

    def __init__(self, **given: Any) -> None:
        self.lines: list[dict[str, Any]] = []
        self._said = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.resilience.config.process", json.dumps(given)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                with self._said:
                    self.lines.append(json.loads(line))
                    self._said.notify_all()

    def wait(self, event: str, patience_s: float = PATIENCE_S, **wanted: Any) -> dict[str, Any]:
        """The first line of that kind that says at least what is wanted, now or later."""

        def found() -> dict[str, Any] | None:
            for line in self.lines:
                if line["event"] == event and all(line.get(name) == value for name, value in wanted.items()):
                    return line
            return None

        with self._said:
            assert self._said.wait_for(found, timeout=patience_s), f"waited for {event} {wanted}, heard {self.lines}"
            line = found()
            assert line is not None
            return line

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(timeout=20)


@contextmanager
def running(count: int = 4, **given: Any) -> Iterator[list[Running]]:
    """So many processes, each started and listening or polling."""
    processes = [Running(**given) for _ in range(count)]
    try:
        for one in processes:
            one.wait("started")
        yield processes
    finally:
        for one in processes:
            one.stop()
