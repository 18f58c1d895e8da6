"""A cold process fills its caches part by part, at a rate; what fails stops nothing else, and what changed stays missing."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections

from permissions import pdp, points
from permissions.bundle.specs import SubjectSpec
from permissions.cache import catch_up, database, filling, habits, hot, known_ids, reader, warmup, warmup_parts
from permissions.cache.hot import HotList
from permissions.cache.realm import NEVER_NS, STATES
from permissions.cache.upkeep import Upkeep
from permissions.cache.warmup import AlreadyWarming, Progress, Step
from permissions.engine.table import role_set
from permissions.models import HotItem, Realm, RoleBinding
from permissions.models.hot import Met
from permissions.services.subjects import subject_create
from permissions.writing import SYSTEM, permission_write
from resilience import telemetry
from resilience.clock import SYSTEM as CLOCK
from tests.aging import Gone, never_age
from tests.permissions.cache.l2_cast import counted, layer_on
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

PATIENCE_S = 30.0
OTHERS = ("filters", "hot_roles", "hot_subjects", "chains", "prefetch")
PEOPLE = ("user:alice", "user:bob", "user:charlie")


@pytest.fixture(autouse=True)
def _office() -> Iterator[None]:
    apply(OFFICE)
    forget()
    yield
    warmup.cancel(wait_s=PATIENCE_S)


def forget() -> None:
    """As a process that has just started."""
    pdp.reset()
    filling._after_fork()


def hot_ones(*refs: str, roles: tuple[str, ...] = ("editor",)) -> None:
    """Asked about in the last hour, by processes of before."""
    met = [Met("s", ref, 9) for ref in refs] + [Met("r", f'["{name}"]', 9) for name in roles]
    HotItem.objects.meet(realm_id(), CLOCK.now_us() // 3_600_000_000, "direct", met)


def realm_id() -> int:
    return Realm.objects.get(name="default").pk


def states(progress: Progress) -> dict[str, str]:
    return {step.component: step.state for step in progress.steps}


def step(progress: Progress, component: str) -> Step:
    return next(one for one in progress.steps if one.component == component)


def resident() -> tuple[set[str], set[str]]:
    cache = catch_up.cache_of("default")
    return set(cache.subjects.keys()), set(cache.resources.keys())


def boom(*_: object, **__: object) -> None:
    raise OperationalError("the server closed the connection")


class TestWhatIsFilled:
    def test_every_component_ends_and_a_check_finds_all_it_needs(self, django_assert_num_queries: Any) -> None:
        hot_ones(*PEOPLE)
        progress = warmup.run("default")
        assert progress.state == "done"
        assert set(states(progress).values()) == {"done"}
        assert [one.error for one in progress.steps] == [""] * 6
        never_age()
        with django_assert_num_queries(0):
            decision = pdp.check("user:alice", "post:edit")
            denied = pdp.check("user:nobody", "post:edit")
        assert (decision.allowed, decision.source) == (True, "l1")
        assert not denied.allowed

    def test_the_head_and_the_role_table_make_a_realm_ready(self) -> None:
        warmup.run("default")
        assert STATES["default"].rev == Realm.objects.get(name="default").rev

    def test_the_filters_know_every_id_of_the_realm(self) -> None:
        progress = warmup.run("default")
        filters = catch_up.cache_of("default").filters
        assert filters is not None
        assert all(ref in filters.subjects for ref in (*PEOPLE, "team:writers"))
        assert all(ref in filters.resources for ref in ("blog:1", "post:7", "post:8"))
        assert "user:nobody" not in filters.subjects
        assert step(progress, "filters").total == len(filters.subjects) + len(filters.resources)

    def test_the_role_sets_met_most_lie_in_the_memo(self) -> None:
        hot_ones(roles=("editor", "reader"))
        warmup.run("default")
        memo = STATES["default"].table.memo
        assert {role_set(("editor",)), role_set(("reader",))} <= set(memo)

    def test_the_subjects_met_most_lie_in_memory_and_the_places_where_they_hold_something(self) -> None:
        hot_ones("user:alice", "user:bob")
        progress = warmup.run("default")
        subjects, resources = resident()
        assert {"user:alice", "user:bob"} <= subjects
        assert "user:charlie" not in subjects
        assert resources == {"blog:1"}
        assert (step(progress, "hot_subjects").done, step(progress, "chains").done) == (2, 1)

    def test_what_is_held_on_the_whole_realm_is_no_resource(self) -> None:
        apply(OFFICE + '  - {subject: "team:writers", allow: ["post:edit"]}\n')
        forget()
        hot_ones("user:bob")
        progress = warmup.run("default")
        assert (step(progress, "chains").state, step(progress, "chains").total) == ("done", 1)

    def test_a_hot_subject_that_is_gone_evicts_nothing_and_is_no_error(self) -> None:
        hot_ones("user:alice", "user:gone")
        progress = warmup.run("default")
        assert progress.state == "done"
        assert "user:gone" not in resident()[0]

    def test_without_a_name_every_realm_is_warmed_and_all_tables_come_first(self) -> None:
        apply(OFFICE.replace("realm: default", "realm: second"), realm="second")
        forget()
        order: list[tuple[str, str]] = []
        progress = warmup.run(report=lambda one: order.append((one.realm, one.component)))
        assert progress.state == "done"
        assert {"default", "second"} <= set(STATES)
        assert [component for _, component in dict.fromkeys(order)][:2] == ["table", "table"]

    def test_what_a_change_reaches_meanwhile_is_not_resident_as_it_was(self) -> None:
        hot_ones("user:alice")
        done = threading.Event()

        def revoke(name: str) -> None:
            if name == "fill.read" and not done.is_set():
                done.set()
                with permission_write("default", SYSTEM):
                    RoleBinding.objects.filter(subject__ref="user:alice").delete()

        remove = points.install(revoke)
        try:
            warmup.run("default")
        finally:
            remove()
        assert done.is_set()
        assert not pdp.check("user:alice", "post:edit")

    def test_a_second_run_asks_for_nothing_that_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hot_ones(*PEOPLE)
        warmup.run("default")
        monkeypatch.setattr(database, "read_snapshots", boom)
        assert warmup.run("default").state == "done"


class TestFaults:
    def test_a_component_that_fails_stops_no_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hot_ones(*PEOPLE)
        before = counted("permission_cache_warmup_errors_total", "filters")
        monkeypatch.setattr(known_ids, "load", boom)
        progress = warmup.run("default")
        assert states(progress) == {"table": "done", **dict.fromkeys(OTHERS, "done"), "filters": "failed"}
        assert step(progress, "filters").error == "OperationalError: the server closed the connection"
        assert progress.state == "failed"
        assert progress.is_ready
        assert counted("permission_cache_warmup_errors_total", "filters") == before + 1
        assert set(PEOPLE) <= resident()[0]

    def test_a_hot_list_that_cannot_be_read_is_the_error_of_those_that_need_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hot, "preload", boom)
        progress = warmup.run("default")
        failed = {"hot_roles", "hot_subjects", "chains"}
        assert {name for name, state in states(progress).items() if state == "failed"} == failed

    def test_a_database_that_is_away_leaves_an_error_and_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hot_ones(*PEOPLE)
        gone = Gone(monkeypatch)
        try:
            progress = warmup.run("default")
        finally:
            gone.come_back()
        assert progress.state == "failed"
        assert not progress.is_ready
        assert "Away" in step(progress, "table").error
        assert warmup.run("default").state == "done"

    def test_realms_that_cannot_be_listed_are_the_error_of_the_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Realm.objects, "order_by", boom)
        progress = warmup.run()
        assert (progress.state, progress.steps) == ("failed", [])
        assert "OperationalError" in progress.error

    def test_a_realm_that_is_not_there_is_named(self) -> None:
        progress = warmup.run("nowhere")
        assert (progress.state, progress.error) == ("failed", "NotFound: there is no realm 'nowhere'")
        assert "nowhere" not in catch_up.caches()

    def test_a_realm_whose_history_changes_while_its_ids_are_read_gets_no_filter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        load = known_ids.load

        def restored(number: int, **given: Any) -> Any:
            found = load(number, **given)
            with permission_write("default", SYSTEM) as write:
                Realm.objects.filter(pk=write.realm.pk).update(epoch=os.urandom(16).hex())
            return found

        monkeypatch.setattr(known_ids, "load", restored)
        progress = warmup.run("default")
        assert step(progress, "filters").error.startswith("UnsettledError: ")
        assert catch_up.cache_of("default").filters is None

    def test_an_id_that_is_added_while_the_ids_are_read_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        load = known_ids.load

        def late(number: int, **given: Any) -> Any:
            found = load(number, **given)
            subject_create(actor=SYSTEM, realm=Realm.objects.get(name="default"), spec=SubjectSpec("user:late"))
            return found

        monkeypatch.setattr(known_ids, "load", late)
        assert step(warmup.run("default"), "filters").state == "done"
        filters = catch_up.cache_of("default").filters
        assert filters is not None
        assert "user:late" in filters.subjects


class Hours:
    """Time that passes only where the warm-up waits. `waits`: how long each time, in seconds."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return 1_700_000_000.0

    def wait(self, event: threading.Event, timeout: float) -> bool:
        self.now_s += timeout
        self.waits.append(round(timeout, 6))
        return event.is_set()


class TestPace:
    @pytest.fixture
    def hours(self, monkeypatch: pytest.MonkeyPatch) -> Hours:
        monkeypatch.setattr(warmup_parts, "PART", 2)
        found = Hours()

        class Passing(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                assert timeout is not None
                return found.wait(self, timeout)

        monkeypatch.setattr(warmup, "time", found)
        make = Progress.__init__

        def made(self: Progress, *given: Any, **named: Any) -> None:
            make(self, *given, **named)
            self._cancelled = Passing()

        monkeypatch.setattr(Progress, "__init__", made)
        return found

    def test_parts_come_at_the_rate_and_the_first_at_once(self, monkeypatch: pytest.MonkeyPatch, hours: Hours) -> None:
        monkeypatch.setattr(reader, "prefill", lambda realm, kind, refs: len(refs))
        hot_ones(*(f"user:{number}" for number in range(7)))
        warmup.run("default", rate=100)
        assert hours.waits == [0.0, 0.02, 0.02, 0.02]

    def test_time_spent_filling_counts(self, monkeypatch: pytest.MonkeyPatch, hours: Hours) -> None:
        def prefill(realm: str, kind: str, refs: list[str]) -> int:
            hours.now_s += 0.015
            return len(refs)

        monkeypatch.setattr(reader, "prefill", prefill)
        hot_ones(*(f"user:{number}" for number in range(4)))
        warmup.run("default", rate=100)
        assert hours.waits == [0.0, 0.005]

    def test_it_refuses_a_rate_that_is_none(self) -> None:
        rates: list[Any] = [0, -1, True, "fast", None, float("nan"), float("inf"), 1_000_001]
        for rate in rates:
            for call in (warmup.run, warmup.start):
                with pytest.raises(ValueError, match=r"rate is .* it takes subjects a second"):
                    call("default", rate=rate)
        assert STATES == {}


class Gate:
    """Stops the filling of snapshots until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.came, self.open = threading.Event(), threading.Event()
        self.asked: list[list[str]] = []
        fill = reader.prefill

        def prefill(realm: str, kind: Any, refs: list[str]) -> int:
            self.asked.append(refs)
            self.came.set()
            assert self.open.wait(PATIENCE_S)
            return fill(realm, kind, refs)

        monkeypatch.setattr(reader, "prefill", prefill)


class TestInTheBackground:
    @pytest.fixture
    def gate(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
        hot_ones(*PEOPLE)
        monkeypatch.setattr(warmup_parts, "PART", 1)
        made = Gate(monkeypatch)
        yield made
        made.open.set()
        warmup.cancel(wait_s=PATIENCE_S)

    def test_it_returns_at_once_and_is_ready_before_the_caches_are_full(self, gate: Gate) -> None:
        progress = warmup.start()
        assert gate.came.wait(PATIENCE_S)
        assert progress.state == "running"
        assert progress.is_ready
        assert pdp.check("user:alice", "post:edit")
        assert 0 < progress.ratio < 1
        gate.open.set()
        assert progress.wait(PATIENCE_S)
        assert set(states(progress).values()) == {"done"}
        assert progress.ratio == 1

    def test_one_that_runs_is_joined_and_one_that_has_ended_is_not(self, gate: Gate) -> None:
        first = warmup.start("default")
        assert warmup.start("default") is first
        assert warmup.last() is first
        gate.open.set()
        assert first.wait(PATIENCE_S)
        second = warmup.start("default")
        assert second is not first
        assert second.id != first.id

    def test_another_realm_meanwhile_is_refused(self, gate: Gate) -> None:
        first = warmup.start()
        with pytest.raises(AlreadyWarming, match=f"is warming every realm .job {first.id}"):
            warmup.start("default")

    def test_cancelled_it_ends_within_a_part_and_keeps_what_is_filled(self, gate: Gate) -> None:
        progress = warmup.start("default")
        assert gate.came.wait(PATIENCE_S)
        progress.cancel()
        gate.open.set()
        assert progress.wait(PATIENCE_S)
        assert progress.state == "cancelled"
        assert len(gate.asked) == 1
        assert resident()[0] == set(gate.asked[0])
        assert {name: states(progress)[name] for name in ("table", "hot_subjects", "chains", "prefetch")} == {
            "table": "done",
            "hot_subjects": "cancelled",
            "chains": "cancelled",
            "prefetch": "cancelled",
        }

    def test_cancelled_while_ids_are_read_it_uses_no_half_filter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        load = known_ids.load
        came, go = threading.Event(), threading.Event()

        def held(number: int, **given: Any) -> Any:
            came.set()
            assert go.wait(PATIENCE_S)
            return load(number, **given)

        monkeypatch.setattr(known_ids, "load", held)
        progress = warmup.start("default")
        assert came.wait(PATIENCE_S)
        progress.cancel()
        go.set()
        assert progress.wait(PATIENCE_S)
        assert step(progress, "filters").state == "cancelled"
        assert catch_up.cache_of("default").filters is None

    def test_a_machine_without_threads_leaves_a_job_that_has_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_thread(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            progress = warmup.start("default")
        assert (progress.state, progress.error) == ("failed", "RuntimeError: can't start new thread")

    def test_a_forked_child_has_no_job(self, gate: Gate) -> None:
        progress = warmup.start("default")
        assert gate.came.wait(PATIENCE_S)
        child = os.fork()
        if child == 0:
            os._exit(0 if warmup.last() is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert warmup.last() is progress


class TestTelling:
    def test_the_ratio_of_each_component_and_the_end_are_told(self) -> None:
        hot_ones(*PEOPLE)
        seen: list[telemetry.Event] = []
        leave = telemetry.subscribe(seen.append, "cache.warmed")
        try:
            progress = warmup.run("default")
        finally:
            leave()
        ratios = telemetry.collect()["permission_cache_warmup_ratio"]
        assert {labels: ratios[labels] for labels in ratios} == {(name,): 1.0 for name in warmup.COMPONENTS}
        assert [(event.attributes["job"], event.attributes["state"], event.attributes["failed"]) for event in seen] == [
            (progress.id, "done", [])
        ]

    def test_the_ratio_grows_while_parts_are_filled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hot_ones(*PEOPLE)
        monkeypatch.setattr(warmup_parts, "PART", 1)
        seen: list[float] = []

        def report(one: Step) -> None:
            if one.component == "hot_subjects":
                seen.append(telemetry.collect()["permission_cache_warmup_ratio"]["hot_subjects",])

        warmup.run("default", report=report)
        assert seen == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])

    def test_a_progress_is_plain_values(self) -> None:
        values = warmup.run("default").as_values()
        assert values["state"] == "done"
        assert values["ready"] is True
        assert values["components"][0] == {
            "realm": "default",
            "component": "table",
            "state": "done",
            "done": 1,
            "total": 1,
            "error": "",
        }


class TestSecondLayer:
    def test_what_one_process_warmed_another_finds_there(
        self, valkey_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hot_ones(*PEOPLE)
        with layer_on(settings, valkey_url) as layer:
            warmup.run("default")
            assert layer.writer.settle(PATIENCE_S)
            forget()
            asked = []
            read = database.read_snapshots

            def counting(*given: Any) -> Any:
                asked.append(given)
                return read(*given)

            monkeypatch.setattr(database, "read_snapshots", counting)
            progress = warmup.run("default")
            assert progress.state == "done"
            assert set(PEOPLE) <= resident()[0]
            assert asked == []

    def test_what_one_process_learnt_of_what_follows_what_another_predicts(self, valkey_url: str, settings: Any) -> None:
        with layer_on(settings, valkey_url):
            of_subjects, of_resources = filling.prefetches(catch_up.cache_of("default"))
            for visitor in ("ann", "bob", "cy"):
                for place in ("post:7", "post:8"):
                    of_resources.record(visitor, place)
                for person in ("user:alice", "user:bob"):
                    of_subjects.record(visitor, person)
            pdp.check("user:alice", "post:read")  # the realm is in use, and so kept up
            upkeep = Upkeep()
            upkeep._habits_ns = NEVER_NS
            upkeep.tick()
            forget()
            progress = warmup.run("default")
            assert (step(progress, "prefetch").state, step(progress, "prefetch").done) == ("done", 2)
            of_subjects, of_resources = filling.prefetches(catch_up.cache_of("default"))
            assert of_resources.predict("post:7") == ["post:8"]
            assert of_subjects.predict("user:alice") == ["user:bob"]

    def test_a_store_that_is_not_there_costs_no_component(self, settings: Any, tmp_path: Any) -> None:
        hot_ones(*PEOPLE)
        with layer_on(settings, f"unix://{tmp_path}/nobody.sock", quick=True):
            assert warmup.run("default").state == "done"
        assert set(PEOPLE) <= resident()[0]


def test_it_leaves_no_connection_of_its_thread_open(monkeypatch: pytest.MonkeyPatch) -> None:
    of_the_thread: list[Any] = []

    def look(*_: object) -> int:
        of_the_thread.append(connections["default"])
        assert of_the_thread[0].connection is not None
        return 0

    monkeypatch.setattr(habits, "take_up", look)
    progress = warmup.start("default")
    assert progress.wait(PATIENCE_S)
    assert progress.state == "done"
    for thread in threading.enumerate():
        if thread.name == "permissions-warmup":
            thread.join(PATIENCE_S)
    assert of_the_thread[0] is not connections["default"]
    assert of_the_thread[0].connection is None


def test_sampled_checks_of_one_process_are_what_the_next_one_loads() -> None:
    before = HotList()
    for _ in range(hot.BATCH):
        before.sample("user:bob", ("reader",))
    before.told_s -= 2 * hot.ROWS_EVERY_S
    assert hot.flush(realm_id(), before).where == "rows"
    warmup.run("default")
    assert "user:bob" in resident()[0]


def test_the_example_of_its_page_runs(pytestconfig: pytest.Config) -> None:
    page = (pytestconfig.rootpath / "docs/subsystems/warmup.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example, {})
