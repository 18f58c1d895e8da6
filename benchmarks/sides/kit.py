"""Bar 9: the resilience kit's decisions, which `benchmarks/resilience.py` measures."""

from __future__ import annotations

from typing import Any

from benchmarks import peers, sides


class Kit:
    def __init__(self) -> None:
        sides.set_up()

    def rows(self, quick: bool, with_peers: bool) -> list[dict[str, Any]]:
        from benchmarks import resilience  # noqa: PLC0415 - needs the settings

        if quick:
            resilience.ROUNDS, resilience.BURST = 1, 2
        return resilience.rows(peers.FOLDER, with_peers)
