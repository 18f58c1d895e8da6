"""Fallbacks, retries, time-outs and stores: how often a call had to be helped, by name, over all processes."""

from __future__ import annotations

from typing import Any, Final

from controlplane.services.boards import Fresh
from controlplane.services.instances import Figures
from resilience import registry

FALLBACKS: Final = "resilience_fallback_total"
RETRIES: Final = "resilience_retry_total"
TIMEOUTS: Final = "resilience_timeout_total"
ERRORS: Final = "resilience_storage_errors_total"


def board() -> dict[str, Any]:
    """Counts since each process started."""
    return _board.get()


def _read() -> dict[str, Any]:
    figures = Figures.now()
    return {
        "fallbacks": _by_name(figures, FALLBACKS),
        "retries": _by_name(figures, RETRIES, registry.names("retry")),
        "timeouts": [{"name": name, "total": total} for name, total in sorted(figures.by_first(TIMEOUTS).items())],
        "storage_errors": figures.by_first(ERRORS),
        "complete": figures.complete,
    }


_board: Final = Fresh(_read)


def _by_name(figures: Figures, metric: str, names: list[str] | None = None) -> list[dict[str, Any]]:
    sums: dict[str, dict[str, int]] = {name: {} for name in names or ()}
    for labels, number in figures.counts(metric).items():
        if len(labels) == 2:
            sums.setdefault(labels[0], {})[labels[1]] = round(number)
    return [{"name": name, "results": dict(sorted(results.items()))} for name, results in sorted(sums.items())]
