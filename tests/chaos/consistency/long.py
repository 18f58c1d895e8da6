"""`make chaos`: every fault for CHAOS_SECONDS (default 600), the variants, and the wrong caches, each of which must be blamed.

Ends with 1 where the contract was broken or a wrong cache was not. What is printed goes into `var/chaos.log` as well.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import platform
import sys
import time
from pathlib import Path

from tests.chaos.consistency import plans
from tests.chaos.consistency.harness import ROOT, Report, Stage

SHARE_OF_VARIANT = 0.1


class Told:
    """Standard output and a file at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def __call__(self, text: str) -> None:
        for out in (sys.stdout, self._file):
            out.write(text + "\n")
            out.flush()


def main() -> int:
    seconds = float(os.environ.get("CHAOS_SECONDS", "600"))
    seed = int(os.environ.get("CHAOS_SEED", str(int(time.time()) % 1_000_000)))
    tell = Told(ROOT / "var" / "chaos.log")
    tell(
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, seed {seed}"
    )
    bad: list[str] = []
    with Stage() as stage:
        runs = {"every fault": dataclasses.replace(plans.EVERYTHING, seconds=seconds)}
        runs |= {
            name: dataclasses.replace(plan, seconds=max(10.0, seconds * SHARE_OF_VARIANT))
            for name, plan in plans.VARIANTS.items()
        }
        for name, plan in runs.items():
            tell(f"\n== {name}, {plan.seconds:.0f} s")
            report = stage.run(dataclasses.replace(plan, seed=seed))
            tell(report.text())
            if report.findings.faults or report.ends:
                bad.append(name)
        for name in plans.MUTANTS:
            caught, told = hunt(stage, name, seed)
            tell(f"\n== wrong cache {name}: {told}")
            if not caught and name not in plans.RARE:
                bad.append(name)
    tell("\n" + ("FAILED: " + ", ".join(bad) if bad else "the contract held in every run, and every wrong cache was caught"))
    return 1 if bad else 0


def hunt(stage: Stage, name: str, seed: int) -> tuple[bool, str]:
    """Runs of a few seconds, as long as they find nothing, for MUTANT_S in all."""
    spent, checks = 0.0, 0
    while spent < plans.MUTANT_S:
        plan = dataclasses.replace(plans.MUTANTS[name], mutant=name, seed=seed + int(spent))
        report = stage.run(plan)
        spent += plan.seconds
        checks += report.findings.checks
        if report.findings.faults:
            return True, f"caught within {spent:.0f} s: {_blamed(report)} of {checks} checks"
    return False, f"not seen in {spent:.0f} s and {checks} checks" + (
        "; the state machine or a scene is sure to see it" if name in plans.RARE else ""
    )


def _blamed(report: Report) -> str:
    f = report.findings
    kinds = {"wrong": f.wrong, "broken tokens": f.broken_tokens, "beyond bound": f.beyond_bound, "back": f.back}
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items() if number) or f"{f.disorder} in disorder"


if __name__ == "__main__":
    sys.exit(main())
