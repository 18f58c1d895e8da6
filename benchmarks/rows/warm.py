"""Bar 1: a warm check on W1 beside a bare dict and mask, Django, django-guardian, Cedar, Casbin: one world, same questions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.bench import PACKAGES, Bench
from benchmarks.child import Child
from benchmarks.measure import Row, against, faster, rounds_ns, told_ns
from benchmarks.workloads import w1

# A port of the loopback that no server has.
NOBODY = "redis://127.0.0.1:1/0"


class VoidError(RuntimeError):
    """A side gave another answer: then nothing it took means anything."""


def rows(bench: Bench) -> list[Row]:
    sizes = bench.sizes
    with ExitStack() as stack:
        ours = stack.enter_context(
            bench.child("warm:Warm", realm=bench.w1(), subjects=sizes.subjects, checks=sizes.checks).ready()
        )
        alike = {"realm": bench.w1(), "subjects": sizes.subjects, "checks": sizes.checks}
        with_redis = {
            name: stack.enter_context(bench.child("warm:Warm", redis=url, **alike).ready())
            for name, url in (("Redis up", bench.site.redis), ("Redis named and gone", NOBODY))
        }
        others = {place: bench.peer(place) for place in PACKAGES}
        there = {place: stack.enter_context(side) for place, side in others.items() if side is not None}
        found = [agreement(bench, ours, there)]
        before = ours.call("sources")
        sides: dict[str, Callable[[], float]] = {"bare": lambda: ours.call("bare_ns")}
        sides |= {"called": lambda: ours.call("bare_call_ns"), "check": lambda: ours.call("check_ns")}
        sides["async"] = lambda: ours.call("async_ns")
        for name, side in with_redis.items():
            sides[name] = partial(side.call, "check_ns")
        sides["first"] = lambda: ours.call("first_ns", count=sizes.django_checks)
        for place, side in there.items():
            sides[place] = _round(bench, place, side)
        taken = rounds_ns(sides)
        after = ours.call("sources")
        found += _told(taken, {place: side.call("name") for place, side in there.items()}, not_l1(before, after))
        found[4:4] = [
            Row(
                bar="1",
                what=f"pdp.check, warm, {name}",
                figure=told_ns(taken[name]),
                ratio=against(taken[name], taken["check"], "without")[0],
                value=taken[name],
            )
            for name in with_redis
        ]
        found += [_cold(bench, side) for place, side in there.items() if place.startswith("django")]
    found += [
        Row(
            what=PACKAGES[place],
            figure="not measured",
            ratio="could not be installed" if bench.with_peers else "left out by --no-peers",
            bar="1",
        )
        for place in others
        if place not in there
    ]
    return found


def _round(bench: Bench, place: str, side: Child) -> Callable[[], float]:
    if place.startswith("django"):
        return lambda: side.call("warm_ns", count=bench.sizes.django_checks)
    count = bench.sizes.casbin_checks if place.startswith("casbin") else bench.sizes.django_checks
    return lambda: side.call("round_ns", count=count)


def agreement(bench: Bench, ours: Child, peers: dict[str, Child]) -> Row:
    """All sides answer the first questions as plain sets do, or the comparison is void. Warms Django's users, too."""
    sizes = bench.sizes
    truth = w1.build(subjects=sizes.subjects, checks=sizes.checks).answers(sizes.agreed)
    for name, side in {"permsite": ours, **peers}.items():
        count = sizes.casbin_agreed if name.startswith("casbin") else sizes.agreed
        given = side.call("answers", count=min(count, len(truth)))
        wrong = [place for place, answer in enumerate(given) if answer != truth[place]]
        if wrong or not given:
            raise VoidError(
                f"{name} answers {len(wrong)} of {len(given)} questions otherwise than the sets do, first {wrong[:3]}"
            )
    return Row(
        bar="1",
        what="all sides agree",
        figure=f"{len(truth):,} questions",
        ratio=f"{sum(truth) / len(truth):.0%} allowed; Casbin {min(sizes.casbin_agreed, len(truth))}",
    )


def not_l1(before: dict[str, int], after: dict[str, int]) -> int:
    return sum(after.get(name, 0) - before.get(name, 0) for name in ("redis", "db", "live"))


def _told(taken: dict[str, float], names: dict[str, str], missed: int) -> list[Row]:
    bare, called, check, first = taken["bare"], taken["called"], taken["check"], taken["first"]
    ratio, met = against(check, bare, "bare", 4)
    found = [
        Row(bar="1", what="bare dict and mask test, W1", figure=told_ns(bare), ratio="1", value=bare),
        Row(
            bar="1",
            what="the same behind a call",
            figure=told_ns(called),
            ratio=f"ours {against(check, called, 'it')[0]}",
            value=called,
        ),
        Row(
            bar="1",
            what="pdp.check, warm, W1",
            figure=told_ns(check),
            ratio=f"{ratio}; {missed} not from L1",
            met=met,
            value=check,
        ),
        Row(bar="1", what="pdp.acheck, warm, W1", figure=told_ns(taken["async"]), ratio=against(taken["async"], bare, "bare")[0]),
    ]
    for place, name in names.items():
        figure = taken[place]
        if place == "django_peers:ModelBackend":
            ratio, met = faster(first, figure, "it", 2)
            found.append(Row(bar="1", what=f"{name}, has_perm, warm user", figure=told_ns(figure), value=figure))
            found.append(
                Row(bar="1", what="pdp.check, the same questions", figure=told_ns(first), ratio=ratio, met=met, value=first)
            )
        else:
            what = {"django_peers:Guardian": ", checker kept"}.get(place, "")
            found.append(
                Row(
                    bar="1",
                    what=name + what,
                    figure=told_ns(figure),
                    ratio=f"ours {faster(check, figure, 'it')[0]}",
                    value=figure,
                )
            )
    return found


def _cold(bench: Bench, side: Child) -> Row:
    count = min(300, bench.sizes.checks - bench.sizes.django_checks)
    taken = side.call("cold_ns", first=bench.sizes.django_checks, count=count)
    return Row(bar="6", what=f"{side.call('name')}, first check of a user", figure=told_ns(taken), value=taken)
