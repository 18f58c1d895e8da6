"""The file: its owner's alone, turned over by size, shared by workers, whole after a full disk."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from permissions.decision_log.sinks import FileSink

ROOT = Path(__file__).resolve().parents[3]


def lines(*names: object) -> list[bytes]:
    return [json.dumps({"n": str(name)}).encode() + b"\n" for name in names]


def test_the_file_is_its_owners_alone_even_where_it_was_there_already(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    FileSink(path, 10_000, 2).write(lines(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    open_to_all = tmp_path / "old.jsonl"
    open_to_all.write_text("")
    open_to_all.chmod(0o666)
    FileSink(open_to_all, 10_000, 2).write(lines(1))
    assert stat.S_IMODE(open_to_all.stat().st_mode) == 0o600


def test_it_is_turned_over_by_size_and_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    sink = FileSink(path, 40, 2)
    for number in range(10):
        sink.write(lines(number))
    kept = {name.name: name.read_text() for name in tmp_path.iterdir() if not name.name.endswith(".lock")}
    assert set(kept) == {"log.jsonl", "log.jsonl.1", "log.jsonl.2"}
    assert all(len(text) <= 40 for text in kept.values())
    assert '"9"' in kept["log.jsonl"] and '"7"' in kept["log.jsonl.1"] and '"5"' in kept["log.jsonl.2"]


def test_a_removed_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    sink = FileSink(path, 10_000, 2)
    sink.write(lines(1))
    path.unlink()
    sink.write(lines(2))
    assert path.read_bytes() == lines(2)[0]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_refused_and_nobody_waits(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log.jsonl"
    if kind == "link":
        path.symlink_to(tmp_path / "victim")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OSError):
        FileSink(path, 10_000, 2).write(lines(1))
    assert not (tmp_path / "victim").exists()


def test_a_disk_that_fills_up_in_mid_line_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    sink = FileSink(path, 10_000, 2)
    sink.write(lines(1))
    real, room = os.write, [7]

    def full(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, bytes(data[: room.pop()]))

    with monkeypatch.context() as patched:
        patched.setattr("permissions.decision_log.sinks.os.write", full)
        with pytest.raises(OSError, match="No space"):
            sink.write(lines(2, 3))
    assert path.read_bytes() == lines(1)[0]
    sink.write(lines(2, 3))
    assert path.read_bytes() == b"".join(lines(1, 2, 3))


def test_without_the_lock_the_next_line_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    sink = FileSink(path, 10_000, 2)
    sink.write(lines(1))
    monkeypatch.setattr(FileSink, "_lock", lambda self: False)
    real, room = os.write, [7]
    with monkeypatch.context() as patched:

        def full(fd: int, data: bytes) -> int:
            if not room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, bytes(data[: room.pop()]))

        patched.setattr("permissions.decision_log.sinks.os.write", full)
        with pytest.raises(OSError, match="No space"):
            sink.write(lines(2))
    sink.write(lines(2))
    assert path.read_bytes().splitlines(keepends=True)[-1] == lines(2)[0]


WRITER = """
import sys
from pathlib import Path
from django.conf import settings
settings.configure()
from permissions.decision_log.sinks import FileSink
sink = FileSink(Path(sys.argv[1]), 4_000, 1_000)
for number in range(200):
    sink.write([b'{"w": "%s", "n": %d}\\n' % (sys.argv[2].encode(), n) for n in (2 * number, 2 * number + 1)])
"""


def test_workers_that_share_it_lose_and_tear_nothing_while_it_is_turned_over(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    workers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        for name in ("a", "b", "c")
    ]
    assert [worker.wait(50) for worker in workers] == [0, 0, 0]
    files = [file for file in tmp_path.iterdir() if not file.name.endswith(".lock")]
    assert len(files) > 3
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert sorted((line["w"], line["n"]) for line in found) == [(w, n) for w in "abc" for n in range(400)]
