"""The long run by hand: python -m tests.chaos.consistency --seconds 60 --without "kill process" """

from __future__ import annotations

import argparse
import dataclasses
import os
import pickle
import sys
from collections import Counter
from pathlib import Path

from tests.chaos.consistency import checker, faults
from tests.chaos.consistency.harness import Plan, Report, Stage
from tests.chaos.consistency.mutants import MUTANTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("CHAOS_SECONDS", "600")))
    parser.add_argument("--redis", choices=("alone", "none", "late", "cluster"), default="alone")
    parser.add_argument("--faults", nargs="*", choices=sorted(faults.FAULTS), default=None)
    parser.add_argument("--without", nargs="*", choices=sorted(faults.FAULTS), default=())
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=(), help="fields of the plan, such as readers=2")
    parser.add_argument("--replay", type=Path, help="the folder of an earlier run, kept with KEEP=1")
    told = parser.parse_args()
    if told.replay is not None:
        histories, final, outages = pickle.loads((told.replay / "told.pickle").read_bytes())
        findings = checker.check(told.replay, histories, final, outages)
        sys.stdout.write(Report(Plan(), findings, Counter(), 0.0).text() + "\n")
        return 1 if findings.faults else 0
    named = faults.EVERYTHING if told.faults is None else frozenset(told.faults)
    if told.redis != "alone":
        named -= faults.OF_VALKEY
    plan = Plan(
        seconds=told.seconds,
        redis=told.redis,
        faults=named - frozenset(told.without),
        inner_faults=True,
        mutant=told.mutant,
        seed=told.seed,
    )
    for text in told.set:
        field, _, value = text.partition("=")
        kind = type(getattr(plan, field))
        plan = dataclasses.replace(plan, **{field: value == "True" if kind is bool else kind(value)})
    with Stage() as stage:
        report = stage.run(plan)
    sys.stdout.write(report.text() + "\n")
    return 1 if report.findings.faults else 0


if __name__ == "__main__":
    sys.exit(main())
