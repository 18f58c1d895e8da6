"""Migrates the bench's database and loads worlds into it."""

from __future__ import annotations

import io
import time
from typing import Any

from benchmarks import loading, sides
from benchmarks.workloads import w1, w2
from benchmarks.workloads.world import World


def world(kind: str, realm: str, **sizes: Any) -> World:
    """The same in every process that names the same sizes: drawn from a seed."""
    built: World = {"w1": w1, "w2": w2}[kind].build(**sizes)
    return w2.as_realm(built, realm)


class Loader:
    def __init__(self) -> None:
        sides.set_up()
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)

    def load(self, kind: str, realm: str, **sizes: Any) -> dict[str, float]:
        began = time.perf_counter()
        counted = loading.load(world(kind, realm, **sizes))
        return {**counted, "took_s": round(time.perf_counter() - began, 1)}

    def key(self, realm: str) -> str:
        """A key as a person makes one: it may ask anything in its realm."""
        from django.core.management import call_command  # noqa: PLC0415

        printed = io.StringIO()
        call_command("api_key", "create", f"bench-{time.monotonic_ns()}", "--realm", realm, stdout=printed)
        return printed.getvalue().strip()
