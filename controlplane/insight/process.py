"""What this process takes of its machine: memory, CPU, open files, threads, garbage collections."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
from collections.abc import Iterator

import psutil
from django.db import connection

from resilience.telemetry import Sample


def version_labels(version: str) -> tuple[str, str, str]:
    """For `permsite_build_info`: version of the site, of Python, kind of database."""
    return version, platform.python_version(), connection.vendor


def samples() -> Iterator[Sample]:
    """Without the label `slot`: which one it is, only the collector knows."""
    process = psutil.Process(os.getpid())
    with process.oneshot():
        times = process.cpu_times()
        yield "permsite_process_resident_memory_bytes", (), process.memory_info().rss
        yield "permsite_process_cpu_seconds_total", (), times.user + times.system
        yield "permsite_process_threads", (), process.num_threads()
        yield "permsite_process_start_time_seconds", (), process.create_time()
        # Not readable in some sandboxes; the others are.
        with contextlib.suppress(psutil.Error, OSError):
            yield "permsite_process_open_fds", (), process.num_fds()
    for generation, counted in enumerate(gc.get_stats()):
        yield "permsite_process_gc_collections_total", (str(generation),), counted["collections"]
