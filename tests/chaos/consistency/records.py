"""What processes leave behind: lines of JSON, one list each, in files of their own. The first element says what the line is.

`a` an answer: ["a", start_ns, end_ns, wall_us, wall_end_us, realm, mode, token op, items]; an item is
    [subject, code, resource, context, allowed, reason, revision, source, stale]
`e` a refusal to answer: ["e", start_ns, end_ns, realm, mode, token op, name of the error]
`w` an acknowledged write: ["w", op, ack_ns, token]; `x` one in doubt or refused: ["x", op, name of the error, text]
`i` the intent of a write: ["i", op, style, {realm: steps}]
Clocks: `_ns` CLOCK_BOOTTIME, the same for all processes of the machine; `_us` wall clock.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

MODES: Final = ("bounded", "token", "full")
CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_ns() -> int:
    return time.clock_gettime_ns(CLOCK)


def wall_us() -> int:
    return time.time_ns() // 1_000


class Log:
    """One thread's lines. What must not be lost with a killed process (`now`) is written at once."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._kept: list[str] = []

    def add(self, *line: Any) -> None:
        self._kept.append(json.dumps(line, separators=(",", ":")))
        if len(self._kept) >= 200:
            self.flush()

    def now(self, *line: Any) -> None:
        self._kept.append(json.dumps(line, separators=(",", ":")))
        self.flush()

    def flush(self) -> None:
        if self._kept:
            text = "\n".join(self._kept) + "\n"
            self._kept.clear()
            os.write(self._fd, text.encode())


def lines(path: Path) -> Iterator[list[Any]]:
    """The whole lines; the last one of a killed process may be torn."""
    with path.open(encoding="utf-8") as file:
        for text in file:
            if text.endswith("\n"):
                yield json.loads(text)


class Tokens:
    """The newest tokens of all writers: one small file for each, replaced at every write, read by every process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, writer: str, realm: str, op: str, token: str) -> None:
        path = self.folder / f"{writer}.{realm}.token"
        draft = path.with_suffix(".draft")
        draft.write_text(f"{op} {token}", encoding="ascii")
        draft.replace(path)

    def get(self, writer: str, realm: str) -> tuple[str, str] | None:
        try:
            op, token = (self.folder / f"{writer}.{realm}.token").read_text(encoding="ascii").split(" ")
        except (FileNotFoundError, ValueError):
            return None
        return op, token

    def writers(self, realm: str) -> list[str]:
        return [path.name.removesuffix(f".{realm}.token") for path in self.folder.glob(f"*.{realm}.token")]
