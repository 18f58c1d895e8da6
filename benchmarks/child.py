"""A side in a process of its own, driven by one JSON line a call: no side pays for another's memory, threads or settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parent.parent


class SideError(RuntimeError):
    """A call failed in the child; the text is its traceback."""


class Child:
    """`place` is `module:Class`; the class is made in the child with `arguments`.

    Calls of several children may overlap: `start`, then `result`.
    """

    def __init__(self, place: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> None:
        self.place = place
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", place],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.start("", **arguments)
        self.is_ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, method: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, arguments]).encode() + b"\n")
        self._process.stdin.flush()

    def result(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SideError(f"{self.place} ended with {self._process.wait()}")
        worked, value = json.loads(line)
        if not worked:
            raise SideError(f"{self.place}:\n{value}")
        return value

    def ready(self) -> Child:
        """Waits until the side is made; raises what its making raised."""
        if not self.is_ready:
            self.is_ready = True
            self.result()
        return self

    def call(self, method: str, **arguments: Any) -> Any:
        self.ready()
        self.start(method, **arguments)
        return self.result()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Child:
        try:
            return self.ready()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *error: object) -> None:
        self.close()


def _serve(place: str, calls: BinaryIO, answers: BinaryIO) -> None:
    import importlib  # noqa: PLC0415 - of the child alone
    import traceback  # noqa: PLC0415

    module, _, name = place.partition(":")
    side: Any = None
    for line in calls:
        method, arguments = json.loads(line)
        try:
            if side is None:
                side = getattr(importlib.import_module(module), name)(**arguments)
                told: list[Any] = [True, None]
            else:
                told = [True, getattr(side, method)(**arguments)]
        except BaseException:  # noqa: BLE001 - told to the parent, which raises it
            told = [False, traceback.format_exc()]
        answers.write(json.dumps(told).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    # What a library prints must not look like an answer.
    _answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _serve(sys.argv[1], sys.stdin.buffer, _answers)
    # Threads of a side (a follower) are daemons or not: the process ends now.
    os._exit(0)
