"""A worker in a thread, beside the demo's server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from controlplane.jobs.worker import GRACE_S, Worker


@contextmanager
def beside() -> Iterator[Worker]:
    """While the block runs."""
    worker = Worker(way="thread")
    thread = threading.Thread(target=worker.run, name="jobs", daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(GRACE_S)
