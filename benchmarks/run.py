"""`make bench`: one table of ratios, each row's sides measured in this one run; written to `benchmarks/results/<date>.json` too.

Every figure is the median of five rounds. Machines differ and are noisy: read the ratios.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ROUNDS = 5


def per_call_ns(work: Callable[[], int]) -> float:
    """Nanoseconds a call; `work` returns how many calls it made. Median of five rounds after one to warm up."""
    work()
    taken = []
    for _ in range(ROUNDS):
        gc.collect()
        start = time.perf_counter_ns()
        calls = work()
        taken.append((time.perf_counter_ns() - start) / calls)
    return statistics.median(taken)


def main() -> int:
    folder = tempfile.mkdtemp(prefix="permsite-bench-")
    os.environ["DATABASE_URL"] = f"sqlite:///{folder}/bench.sqlite3"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "permsite.settings")
    os.environ.setdefault("SECRET_KEY", "bench " * 12)
    import django  # noqa: PLC0415 - after the environment is set

    django.setup()
    from benchmarks import resilience  # noqa: PLC0415

    rows = [*engine_rows(), *table_rows(), *django_rows(), *resilience.rows(ROOT / "var" / "peers")]
    width = max(len(row["what"]) for row in rows)
    for row in rows:
        print(f"{row['what']:<{width}}  {row['figure']:<28}  {row['ratio']}")
    result = {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "rows": rows,
    }
    target = ROOT / "benchmarks" / "results" / f"{dt.datetime.now(dt.UTC):%Y-%m-%d}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {target.relative_to(ROOT)}")
    return 0


def row(what: str, figure: str, ratio: str) -> dict[str, str]:
    return {"what": what, "figure": figure, "ratio": ratio}


def engine_rows() -> list[dict[str, str]]:
    """A warm check against the least that any check could do: one dict lookup and one mask test."""
    from benchmarks.workloads import w1  # noqa: PLC0415
    from permissions import pdp  # noqa: PLC0415
    from permissions.cache import reader  # noqa: PLC0415
    from permissions.cache.state import State  # noqa: PLC0415
    from permissions.conditions import cel  # noqa: PLC0415
    from permissions.engine.compile import compile_table  # noqa: PLC0415
    from permissions.engine.evaluate import evaluate  # noqa: PLC0415
    from permissions.engine.scopes import build_subject  # noqa: PLC0415
    from permissions.engine.types import Request  # noqa: PLC0415
    from permissions.revisions import Head  # noqa: PLC0415

    load = w1.build()
    table = compile_table(load.model, cel.language())
    now = reader.clock_us()
    snapshots = {ref: build_subject(facts, now) for ref, facts in load.subjects.items()}
    requests = [Request(subject, code) for subject, code in load.checks]
    allowed = sum(bool(evaluate(table, snapshots[r.subject], None, r, now)) for r in requests)

    bits = {code: 1 << n for n, code in enumerate(table.codes)}
    masks = {
        ref: sum(bits[c] for c in {c for c in table.codes if evaluate(table, s, None, Request(ref, c), now)})
        for ref, s in list(snapshots.items())[:500]
    }
    pairs = [(f"user:{i % 500}", code) for i, (_, code) in enumerate(load.checks)]

    def bare() -> int:
        hits = 0
        for subject, code in pairs:
            if masks[subject] & bits[code]:
                hits += 1
        return len(pairs)

    def engine() -> int:
        for request in requests:
            evaluate(table, snapshots[request.subject], None, request, now)
        return len(requests)

    # The whole warm path, with a State that is fresh for the length of the run.
    state = State(Head(1, "bench", "0" * 32, 1, 1), table, frozenset(), 1 << 62, reader.boot_ns(), 0, dict(snapshots))
    reader._states["bench"] = state

    def warm() -> int:
        for subject, code in load.checks:
            pdp.check(subject, code, realm="bench")
        return len(load.checks)

    bare_ns, engine_ns, warm_ns = per_call_ns(bare), per_call_ns(engine), per_call_ns(warm)
    gc.collect()
    tracemalloc.start()
    kept = [build_subject(facts, now) for facts in load.subjects.values()]
    size = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    return [
        row("bare dict and mask test", f"{bare_ns:.0f} ns", "1"),
        row(
            "engine.evaluate, W1",
            f"{engine_ns:.0f} ns",
            f"{engine_ns / bare_ns:.1f}x bare; {allowed / len(requests):.0%} allowed",
        ),
        row("pdp.check, warm, W1 (bar 1)", f"{warm_ns:.0f} ns", f"{warm_ns / bare_ns:.1f}x bare (bar: 4x)"),
        row("memory of a cached subject (bar 5)", f"{size:.0f} bytes", "bar: 200 bytes"),
    ]


def table_rows() -> list[dict[str, str]]:
    """Compiling a role table of W2's size: 5,000 roles, 238,000 grants over 20,000 codes."""
    import random  # noqa: PLC0415

    from permissions.conditions import cel  # noqa: PLC0415
    from permissions.engine.compile import compile_table  # noqa: PLC0415
    from permissions.engine.types import ModelFacts, PermissionFact, RoleFact, RoleLineFact  # noqa: PLC0415

    draw = random.Random(2)
    codes = [f"service{s}.kind{k}:verb{v}" for s in range(100) for k in range(20) for v in range(10)]
    roles = []
    for number in range(5_000):
        lines = [RoleLineFact("allow", c) for c in draw.sample(codes, 47)]
        if number % 4 == 0:
            lines.append(RoleLineFact("allow", f"service{draw.randrange(100)}.*:verb?"))
        roles.append(RoleFact(f"role{number}", lines=tuple(lines)))
    model = ModelFacts("bench", permissions=tuple(PermissionFact(c) for c in codes), roles=tuple(roles))
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        compile_table(model, cel.language())
        taken.append(time.perf_counter() - start)
    return [row("role table, 5,000 roles, 236,000 grants (bar 7)", f"{statistics.median(taken):.2f} s", "bar: 5 s")]


def django_rows() -> list[dict[str, str]]:
    """Django's own has_perm on a warm user, on the same machine in the same run."""
    from django.contrib.auth.models import Group, Permission, User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    from permissions import pdp  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    user = User.objects.create_user("bench")
    group = Group.objects.create(name="bench")
    group.permissions.set(Permission.objects.all()[:30])
    user.groups.add(group)
    user = User.objects.get(pk=user.pk)
    names = [f"{p.content_type.app_label}.{p.codename}" for p in Permission.objects.select_related("content_type")[:30]]

    def has_perm() -> int:
        for _ in range(200):
            for name in names:
                user.has_perm(name)
        return 200 * len(names)

    def check() -> int:
        for _ in range(200):
            for number in range(30):
                pdp.check("user:7", f"type{number}:action1", realm="bench")
        return 200 * 30

    django_ns, ours_ns = per_call_ns(has_perm), per_call_ns(check)
    return [
        row("Django has_perm, warm user", f"{django_ns:.0f} ns", "1"),
        row("pdp.check, warm, same number of codes (bar 1)", f"{ours_ns:.0f} ns", f"{django_ns / ours_ns:.1f}x faster (bar: 2x)"),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
