"""The machine that this process runs on: load, memory, the disk that holds the site's own folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.conf import settings

from resilience.telemetry import Sample


@dataclass(frozen=True, slots=True)
class Host:
    """Bytes, but for `load` (1, 5 and 15 minutes) and `cpus`."""

    load: tuple[float, float, float]
    cpus: int
    memory_total: int
    memory_available: int
    disk_total: int
    disk_free: int


def look() -> Host:
    """Raises OSError and psutil.Error."""
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(str(_existing(Path(settings.VAR))))
    return Host(os.getloadavg(), psutil.cpu_count() or 1, memory.total, memory.available, disk.total, disk.free)


def _existing(folder: Path) -> Path:
    """The folder is made when something is first kept in it; its disk is its parent's."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def samples(host: Host) -> Iterator[Sample]:
    for minutes, load in zip(("1", "5", "15"), host.load, strict=True):
        yield "permsite_host_load", (minutes,), load
    yield "permsite_host_cpus", (), host.cpus
    yield "permsite_host_memory_bytes", ("total",), host.memory_total
    yield "permsite_host_memory_bytes", ("available",), host.memory_available
    yield "permsite_host_disk_bytes", ("total",), host.disk_total
    yield "permsite_host_disk_bytes", ("free",), host.disk_free
