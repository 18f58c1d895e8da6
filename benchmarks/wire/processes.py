"""What a server's processes take: their time on a core and their memory, read from /proc; nothing where there is none."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
_PAGE = 4096
_TICK_NS = 10_000_000


def tree(pid: int) -> list[int]:
    """The process and all that came of it."""
    children: dict[int, list[int]] = {}
    for entry in PROC.glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += sorted(children.get(parent, ()))
    return found


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a core so far, of the process and all that came of it and still runs. Told in hundredths of a second."""
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else _TICK_NS
    total = 0
    for one in tree(pid):
        fields = _stat(one)
        if fields:
            total += (int(fields[11]) + int(fields[12])) * tick_ns
    return total


def resident_bytes(pid: int) -> int:
    """Pages in memory, the shared ones too."""
    try:
        return int((PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def workers(pid: int) -> list[int]:
    """Those of a server's processes that answer: the ones that uvicorn spawned, or it alone."""
    found = [one for one in tree(pid) if one != pid and b"spawn_main" in _command(one)]
    return found or [pid]


def _command(pid: int) -> bytes:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything; the first is the state."""
    try:
        return (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
