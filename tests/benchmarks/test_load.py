"""What wrk tells is read rightly; a round with failures in it is no figure; servers and their processes are found and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.wire import load, processes
from benchmarks.wire.cores import Cores, cores, pinned
from benchmarks.wire.serving import ServerError, running
from permsite import child

TOLD = (
    'Running 2s test\nLOAD {"requests": 5000, "took_us": 2000000, "status": %d, "connect": 0, "read": 0, "write": 0,'
    ' "timeout": %d, "p50_us": 1500, "p95_us": 2500, "p99_us": 3500, "max_us": 9000}\n'
)
# It works for a moment, says so, and waits until its parent's end of the pipe is gone.
BUSY = "import sys; sum(range(5_000_000)); print(1, flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BUSY!r}], stdin=subprocess.PIPE).wait()"


def test_a_round_is_read_from_what_wrk_prints() -> None:
    told = load.read(TOLD % (0, 0))
    assert (told.a_second, told.request_ns, told.errors) == (2_500, 400_000, {})
    assert (told.p50_ms, told.p95_ms, told.p99_ms, told.max_ms) == (1.5, 2.5, 3.5, 9.0)


def test_a_round_with_a_failure_is_no_figure() -> None:
    told = load.read(TOLD % (3, 1))
    assert (told.errors, told.failed) == ({"status": 3, "timeout": 1}, 4)
    with pytest.raises(load.LoadError, match=r"a side: of 5000 requests failed .*'status': 3"):
        load.flawless(told, "a side")


def test_a_round_without_a_single_answer_is_no_figure() -> None:
    told = load.read(TOLD.replace("5000", "0") % (0, 0))
    with pytest.raises(load.LoadError, match="of 0 requests failed all"):
        load.flawless(told, "a side")


def test_a_wrk_that_says_nothing_is_told_with_what_it_said() -> None:
    with pytest.raises(load.LoadError, match="no such file"):
        load.read("", "draw.lua: no such file")


def test_a_line_of_the_load_is_its_path_and_its_body(tmp_path: Path) -> None:
    file = load.written(tmp_path / "load", [("/a", b'{"x":1}'), ("/b", b"{}")])
    assert file.read_bytes() == b'/a\t{"x":1}\n/b\t{}\n'


def test_server_and_load_have_a_core_each_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5, 7}, raising=False)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert cores() == Cores(2, 7)
    assert pinned(7, ["wrk", "x"]) == ["/bin/taskset", "-c", "7", "wrk", "x"]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert "the only one" in cores().told()


def test_without_taskset_nothing_is_held_and_the_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert cores() == Cores(None, None)
    assert "held to no core" in cores().told()
    assert pinned(None, ["wrk"]) == ["wrk"]


def test_the_time_and_memory_of_a_process_and_its_children_are_found() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = processes.tree(process.pid)
        assert found[0] == process.pid
        assert len(found) == 2
        assert processes.cpu_ns(process.pid) > 0
        assert processes.resident_bytes(found[1]) > 1 << 20
        # Neither was spawned by uvicorn, so the process itself is what answers.
        assert processes.workers(process.pid) == [process.pid]
        process.kill()


def test_a_process_that_is_gone_takes_nothing() -> None:
    assert processes.cpu_ns(2**22 + 1) == 0
    assert processes.resident_bytes(2**22 + 1) == 0


def test_a_server_that_does_not_come_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "raise SystemExit('no port is free')"]
    with (
        pytest.raises(ServerError, match="broken did not come up: no port is free"),
        running("broken", argv, tmp_path, core=None),
    ):
        pass


def test_a_server_is_ended_when_its_row_fails_and_its_last_words_go_along(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import time; print('http://127.0.0.1:1 serves', flush=True); time.sleep(300)"]
    with pytest.raises(ValueError, match="a row's fault") as raised, running("idle", argv, tmp_path, core=None) as served:
        pid = served.process.pid
        raise ValueError("a row's fault")
    assert not child.is_alive(pid)
    assert raised.value.__notes__ == ["idle said at last: http://127.0.0.1:1 serves"]
