"""A child process that never outlives its parent, not even one that was killed with SIGKILL."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

# Runs in front of the server, in a Python of its own: code between fork and exec of a process with threads may deadlock.
# argv: parent's pid, death signal, user and group id (-1: stay), way (exec or watch), program, its arguments.
_GUARD: Final = """
import os, signal, sys, time
parent, death, uid, gid, way, argv = *map(int, sys.argv[1:5]), sys.argv[5], sys.argv[6:]
if way == "exec":
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if way == "exec":
    # After the change of user: it would clear the signal. 1 is PR_SET_PDEATHSIG.
    if libc.prctl(1, death, 0, 0, 0) != 0:
        sys.exit("prctl failed: " + os.strerror(ctypes.get_errno()))
    if os.getppid() != parent:
        sys.exit("the parent has ended")
    os.execv(argv[0], argv)
import subprocess
server = subprocess.Popen(argv)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, lambda got, frame: server.send_signal(got))
while server.poll() is None:
    if os.getppid() != parent:
        server.send_signal(death)
    time.sleep(0.2)
sys.exit(server.returncode if server.returncode >= 0 else 128 - server.returncode)
"""
# The kernel sends the death signal when the *thread* that forked ends. Servers are started from short-lived threads, so one
# thread that lives as long as the process forks for all of them.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="permsite-children")
_lock = threading.Lock()


def guarded_by() -> str:
    return "exec" if sys.platform == "linux" else "watch"


def start(
    argv: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    death: signal.Signals = signal.SIGTERM,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    way: str | None = None,
) -> subprocess.Popen[bytes]:
    """Starts the server. `user` drops root's rights to that account before the server's program is loaded."""
    uid, gid = (-1, -1) if user is None else (pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), str(int(death)), str(uid), str(gid), way or guarded_by()]

    def fork() -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(  # noqa: S603 - our own guard and a server's absolute path
                [*guard, *argv],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                # A group of its own: Ctrl-C on the terminal reaches the parent alone, which then ends its children in order.
                start_new_session=True,
            )

    with _lock:
        return _forker.submit(fork).result()


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, *, timeout_s: float = 5.0) -> None:
    """Ends the child: asks, waits, insists."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def is_alive(pid: int) -> bool:
    """False also for a zombie: where process 1 does not reap, a dead orphan keeps its number for ever."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        # Linux: it ended just now. Elsewhere there is no /proc and the signal's answer stands.
        return not Path("/proc/self").exists()
    return state not in {"Z", "X"}
