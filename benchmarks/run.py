"""`make bench`: one table of ratios, each row's sides measured in this one run; written to `benchmarks/results/<date>.json` too.

Every figure is the median of five rounds, unless its row says otherwise. Machines differ and are noisy: read the ratios.
`make bench ARGS="--only bar6"` runs some rows; `--catalogues DIR` gives bars 6 and 7 the real role catalogues of AWS, Google
Cloud, Azure and Kubernetes instead of a drawn model of their size.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import signal
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# Before anything of ours is imported: what the shell is set up for is never measured, nor written to.
for _name in ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"):
    os.environ.pop(_name, None)

from benchmarks import peers, site  # noqa: E402 - after the environment is put right
from benchmarks.bench import QUICK, Bench, Sizes  # noqa: E402 - the same
from benchmarks.measure import Row  # noqa: E402 - the same
from benchmarks.peers import npm  # noqa: E402 - the same
from benchmarks.rows import ROWS  # noqa: E402 - the same
from benchmarks.wire import load  # noqa: E402 - the same


def main(argv: list[str]) -> int:
    options = arguments(argv)
    wanted = options.only or list(ROWS)
    missing = [*peers.install(peers.FOLDER), *npm.install(peers.FOLDER)] if options.peers else []
    notes: list[str] = []
    result: dict[str, Any] = {}
    failed = []
    with site.opened(notes) as servers:
        bench = Bench(servers, sizes_of(options), options.catalogues, missing, options.peers)
        print(head(servers))
        try:
            for name in wanted:
                began = time.monotonic()
                try:
                    rows = ROWS[name](bench)
                except Exception as error:  # noqa: BLE001 - one row must not take the others' figures with it
                    failed.append(name)
                    rows = [failure(name, error)]
                show(name, rows, time.monotonic() - began)
                result[name] = {"at": now(), "rows": [row.as_json() for row in rows]}
        finally:
            bench.close()
    for line in missing:
        print(f"not measured: {line} could not be installed")
    if options.out or not options.quick:
        target = Path(options.out) if options.out else ROOT / "benchmarks" / "results" / f"{now()[:10]}.json"
        write(target, {**servers.versions, **versions_of_peers(options.peers)}, result, missing)
        print(f"written to {target}")
    return 1 if failed else 0


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(ROWS), help="these rows alone; may be given several times")
    parser.add_argument("--catalogues", default="", metavar="DIR", help="a folder of real role catalogues, for bars 6 and 7")
    parser.add_argument("--subjects", type=int, metavar="N", help="subjects of W2, where a million are too many for the machine")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="ours alone: installs nothing")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that every row runs, and says nothing of speed")
    parser.add_argument("--out", default="", metavar="FILE", help="where the JSON goes")
    return parser.parse_args(argv)


def sizes_of(options: argparse.Namespace) -> Sizes:
    if options.quick:
        return QUICK
    return replace(Sizes(), million=options.subjects) if options.subjects else Sizes()


def now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def head(servers: site.Site) -> str:
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, PostgreSQL {servers.versions['postgresql']}, "
        f"psycopg {version('psycopg')}, Django {version('django')}"
    )


def failure(name: str, error: BaseException) -> Row:
    """With the last words of the servers that stood then."""
    told = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
    return Row(bar=name, what="FAILED", figure="", ratio="\n".join(told))


def show(name: str, rows: list[Row], took_s: float) -> None:
    print(f"\n{name}  ({took_s:.0f} s)")
    width = max(len(row.what) for row in rows)
    for row in rows:
        mark = {True: "ok   ", False: "SHORT", None: "     "}[row.met]
        print(f"  {mark} {row.what:<{width}}  {row.figure:<14}  {row.ratio}", flush=True)


def versions_of_peers(with_peers: bool) -> dict[str, str]:
    """Of what is measured over HTTP; the others tell their version in their rows."""
    found = {"uvicorn": version("uvicorn")}
    if load.program() is not None:
        found["wrk"] = load.version().removeprefix("wrk ")
    if with_peers:
        found |= npm.versions(peers.FOLDER)
    return found


def write(target: Path, versions: dict[str, str], result: dict[str, Any], missing: list[str]) -> None:
    """Rows that this run did not measure keep their figures of an earlier run of the same day."""
    kept: dict[str, Any] = {}
    if target.exists():
        before = json.loads(target.read_text())
        if isinstance(before.get("rows"), dict):
            kept = before["rows"]
    told = {
        "at": now(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {**versions, "django": version("django"), "psycopg": version("psycopg"), "redis-py": version("redis")},
        "not_installed": missing,
        "rows": {**kept, **result},
    }
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    # Ended by its terminal, by `timeout` or by a service, it still ends its servers and takes away its folder.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    raise SystemExit(main(sys.argv[1:]))
