"""A command of ours in a process of its own, in a folder of its own, watched by what it prints."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_S = 50.0


@dataclass(slots=True)
class Running:
    """`printed` grows line by line; `wait_for` gives the first line that a pattern finds."""

    process: subprocess.Popen[str]
    printed: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.printed.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        def find() -> re.Match[str] | None:
            return next((found for line in self.printed if (found := re.search(pattern, line))), None)

        with self._news:
            self._news.wait_for(lambda: find() or self._ended, timeout=READY_S)
            found = find()
        assert found is not None, "\n".join(self.printed)
        return found

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=20)


@contextlib.contextmanager
def run(*arguments: str, folder: Path, path: str | None = None, **environment: str) -> Iterator[Running]:
    """`folder` is the site's own; `path` replaces PATH, to hide programs of the system."""
    env = {"PATH": os.environ["PATH"] if path is None else path, "PERMSITE_VAR": str(folder), **environment}
    if "PERMSITE_SERVERS" in os.environ:
        env.setdefault("PERMSITE_SERVERS", os.environ["PERMSITE_SERVERS"])
    argv = [sys.executable, "manage.py", *arguments]
    process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    running = Running(process)
    reader = threading.Thread(target=running.read, name="reads-a-command")
    reader.start()
    try:
        yield running
    finally:
        process.kill()
        process.wait()
        reader.join(timeout=20)
        assert process.stdout is not None
        process.stdout.close()
