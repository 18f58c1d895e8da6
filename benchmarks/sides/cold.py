"""Bar 6: the first check of a subject that nobody asked about, and the same statement bare, on the same server."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks import sides
from benchmarks.workloads.world import ref


class Cold:
    """Each round takes subjects that no side has touched before."""

    def __init__(self, realm: str, subjects: int) -> None:
        sides.set_up()
        from permissions import pdp  # noqa: PLC0415
        from permissions.models import Permission  # noqa: PLC0415

        self.realm = realm
        draw = random.Random(3)
        codes = list(Permission.objects.filter(realm__name=realm).order_by("code").values_list("code", flat=True)[:5_000])
        self.codes = draw.sample(codes, min(1_000, len(codes)))
        self.fresh = iter(draw.sample(range(subjects), subjects))
        sides.follow()
        for number in range(30):
            pdp.check(ref(next(self.fresh)), self.codes[number % len(self.codes)], realm=realm)
        self.sql: Any = ""
        self.parameters: Any = None
        self.last = ""
        self.raw: Any = None

    def statements(self, count: int) -> dict[str, Any]:
        """How many statements each of `count` first checks sent from its own thread, and where they were answered from."""
        from permissions import pdp  # noqa: PLC0415

        numbers, sources = [], set()
        session: dict[str, Any] = {}
        for place in range(count):
            subject = ref(next(self.fresh))
            with _noted() as sent:
                decision = pdp.check(subject, self.codes[place % len(self.codes)], realm=self.realm)
            numbers.append(len(sent))
            sources.add(decision.source)
            if sent:
                self.sql, self.parameters = sent[-1]
                self.last = subject
                session = sent.session
        # A session of the same settings (how plans are made is one of them), used by nobody else.
        import psycopg  # noqa: PLC0415

        self.raw = psycopg.connect(**session, autocommit=True)
        return {"fewest": min(numbers), "most": max(numbers), "sources": sorted(sources)}

    def check_ns(self, count: int) -> float:
        """Median over `count` new subjects."""
        from permissions import pdp  # noqa: PLC0415

        taken = []
        for place in range(count):
            subject, code = ref(next(self.fresh)), self.codes[place % len(self.codes)]
            start = time.perf_counter_ns()
            decision = pdp.check(subject, code, realm=self.realm)
            taken.append(time.perf_counter_ns() - start)
            if decision.source != "db":
                raise RuntimeError(f"a first check was answered from {decision.source}")
        return statistics.median(taken)

    def bare_ns(self, count: int) -> float:
        """The check's own statement, prepared, on a connection of this side: sent, and its rows as the driver gives them."""
        cursor = self.raw.cursor()
        taken = []
        for _ in range(count):
            parameters = _with(self.parameters, self.last, ref(next(self.fresh)))
            start = time.perf_counter_ns()
            cursor.execute(self.sql, parameters, prepare=True)
            cursor.fetchall()
            taken.append(time.perf_counter_ns() - start)
        return statistics.median(taken)

    def head_ns(self, count: int) -> float:
        from permissions.revisions import HEAD_SQL  # noqa: PLC0415

        return self._simple(HEAD_SQL, [self.realm], count)

    def nothing_ns(self, count: int) -> float:
        """`SELECT 1`: the floor of any question to this server through this driver."""
        return self._simple("SELECT 1", None, count)

    def _simple(self, sql: str, parameters: Any, count: int) -> float:
        cursor = self.raw.cursor()
        taken = []
        for _ in range(count):
            start = time.perf_counter_ns()
            cursor.execute(sql, parameters, prepare=True)
            cursor.fetchall()
            taken.append(time.perf_counter_ns() - start)
        return statistics.median(taken)

    def server_ns(self, count: int) -> float:
        """What the server itself says the statement took (EXPLAIN ANALYZE of the prepared statement, planning left out)."""
        cursor = self.raw.cursor()
        taken: list[float] = []
        for _ in range(count):
            parameters = _with(self.parameters, self.last, ref(next(self.fresh)))
            cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + self.sql, parameters, prepare=True)
            taken.append(cursor.fetchone()[0][0]["Execution Time"] * 1e6)
        return statistics.median(taken)

    def parts_ns(self, count: int) -> dict[str, float]:
        """Medians of a first check's parts: in the driver (the round trip with it), and all that is ours around it."""
        from permissions import pdp  # noqa: PLC0415

        driver, whole = [], []
        for place in range(count):
            subject, code = ref(next(self.fresh)), self.codes[place % len(self.codes)]
            with _noted(timed=True) as sent:
                start = time.perf_counter_ns()
                pdp.check(subject, code, realm=self.realm)
                whole.append(time.perf_counter_ns() - start)
            driver.append(sum(sent.spent_ns))
        ours = [all_ns - driver_ns for all_ns, driver_ns in zip(whole, driver, strict=True)]
        return {"whole": statistics.median(whole), "driver": statistics.median(driver), "ours": statistics.median(ours)}

    def many_ns(self, size: int) -> float:
        """A batch of `size` new subjects, nanoseconds a subject."""
        from permissions import pdp  # noqa: PLC0415

        taken = []
        for _ in range(20):
            batch = [(ref(next(self.fresh)), self.codes[0]) for _ in range(size)]
            start = time.perf_counter_ns()
            pdp.check_many(batch, realm=self.realm)
            taken.append((time.perf_counter_ns() - start) / size)
        return statistics.median(taken)


class _Sent(list[tuple[Any, Any]]):
    def __init__(self) -> None:
        super().__init__()
        self.spent_ns: list[int] = []
        self.session: dict[str, Any] = {}


@contextmanager
def _noted(*, timed: bool = False) -> Iterator[_Sent]:
    """Every statement that this thread sends through psycopg, whoever's connection it is; with `timed`, how long each took."""
    import psycopg  # noqa: PLC0415

    sent, me, original = _Sent(), threading.get_ident(), psycopg.Cursor.execute

    def execute(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        if threading.get_ident() != me:
            return original(self, query, params, **options)
        start = time.perf_counter_ns()
        answer = original(self, query, params, **options)
        sent.spent_ns.append(time.perf_counter_ns() - start)
        if not timed:
            sent.append((query, params))
            sent.session = self.connection.info.get_parameters()
        return answer

    psycopg.Cursor.execute = execute  # type: ignore[method-assign]
    try:
        yield sent
    finally:
        psycopg.Cursor.execute = original  # type: ignore[method-assign]


def _with(value: Any, old: str, new: str) -> Any:
    """`value` with every text `old` replaced by `new`."""
    if value == old:
        return new
    if isinstance(value, Mapping):
        return {name: _with(item, old, new) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with(item, old, new) for item in value)
    return value
