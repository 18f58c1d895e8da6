"""Work in another thread, on a database connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django.db import connection

PATIENCE_S = 20


def in_thread(pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Future[Any]:
    def closing() -> Any:
        try:
            return work()
        finally:
            connection.close()

    return pool.submit(closing)
