"""Where lines go: a file turned over by size, stdout, a bounded Redis stream. What they cannot do is OSError or RedisError."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from permissions import conf
from permissions.decision_log.options import Options
from resilience.redis_client import redis_client

STREAM: Final = "ps:decisions"
FIELD: Final = "line"
# Seconds. Another process that turns the file over takes milliseconds; one that was frozen meanwhile must not stop all others.
LOCK_WAIT_S: Final = 1.0
_LOCK_LOOK_S: Final = 0.01


class Sink(Protocol):
    def write(self, lines: Sequence[bytes]) -> None:
        """All of them, or an error; after one it may be called again with the same lines."""

    def close(self) -> None: ...


class FileSink:
    """Appends, for its owner alone (0600). Workers share the file: a lock beside it is held for each write and each turn-over.

    `path.1` is the newest of the files turned over.
    """

    def __init__(self, path: Path, max_bytes: int, kept: int) -> None:
        self._path, self._max_bytes, self._kept = path, max_bytes, kept
        self._fd = -1
        self._lock_fd = -1
        self._is_torn = False

    def write(self, lines: Sequence[bytes]) -> None:
        is_locked = self._lock()
        try:
            self._open()
            size = os.fstat(self._fd).st_size
            if is_locked and size and size + sum(map(len, lines)) > self._max_bytes:
                self._turn_over()
                size = 0
            self._append(b"".join(lines), size, is_locked=is_locked)
        finally:
            if is_locked:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _append(self, data: bytes, size: int, *, is_locked: bool) -> None:
        if self._is_torn:
            data = b"\n" + data
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            # A full disk takes a part. Under the lock it is taken back; else the next line begins on a line of its own.
            if len(rest) < len(data):
                self._is_torn = True
                if is_locked:
                    with contextlib.suppress(OSError):
                        os.ftruncate(self._fd, size)
                        self._is_torn = False
            raise
        self._is_torn = False

    def _lock(self) -> bool:
        """Whether the lock was got in time; without it the lines are appended all the same, but nothing is turned over."""
        if self._lock_fd < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_fd = _opened(self._path.with_name(self._path.name + ".lock"))
        until_s = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    return False
                time.sleep(_LOCK_LOOK_S)
            else:
                return True

    def _open(self) -> None:
        """The file of that name now: another process may have turned it over, or somebody removed it."""
        if self._fd >= 0:
            try:
                there = os.stat(self._path, follow_symlinks=False)
            except FileNotFoundError:
                there = None
            mine = os.fstat(self._fd)
            if there is not None and (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return
            os.close(self._fd)
            self._fd = -1
        self._fd = _opened(self._path)
        self._is_torn = False

    def _turn_over(self) -> None:
        os.close(self._fd)
        self._fd = -1
        for number in range(self._kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.replace(self._numbered(number), self._numbered(number + 1))
        os.replace(self._path, self._numbered(1))
        self._fd = _opened(self._path)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def close(self) -> None:
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self._fd = self._lock_fd = -1


def _opened(path: Path) -> int:
    """For appending, 0600. Neither a link (it could lead anywhere) nor a pipe (opening it would wait for its reader)."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is not a regular file")
        os.fchmod(fd, 0o600)  # it may have been there already, readable to all
    except OSError:
        os.close(fd)
        raise
    return fd


class StdoutSink:
    """The process's standard output. A reader that does not read holds up the log's thread, nobody else."""

    def write(self, lines: Sequence[bytes]) -> None:
        data = memoryview(b"".join(lines))
        while data:
            data = data[os.write(sys.__stdout__.fileno() if sys.__stdout__ else 1, data) :]

    def close(self) -> None:
        return None


class StreamSink:
    """A Redis stream that keeps about its newest lines. Its place is REDIS_URL's server, a cluster as well as one node."""

    def __init__(self, max_lines: int, *, url: str | None = None, key: str = STREAM) -> None:
        self._max_lines, self._url, self._key = max_lines, url, key
        self._client: Any = None

    def write(self, lines: Sequence[bytes]) -> None:
        if self._client is None:
            try:
                self._client = redis_client(self._url, role="general")
            except ValueError as error:
                raise OSError(f"there is no Redis to write to: {error}") from error
        pipeline = self._client.pipeline(transaction=False)
        for line in lines:
            pipeline.xadd(self._key, {FIELD: line.rstrip(b"\n")}, maxlen=self._max_lines, approximate=True)
        pipeline.execute()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def sink_of(options: Options) -> Sink | None:
    match options.sink:
        case "file":
            return FileSink(Path(conf.decision_log_file()), options.max_file_mb * 1024 * 1024, options.kept_files)
        case "stdout":
            return StdoutSink()
        case "redis":
            return StreamSink(options.max_stream_lines)
    return None
