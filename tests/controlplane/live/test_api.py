"""system/status, system/performance and system/events as operators ask them, and who may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from controlplane.live import history, store
from controlplane.live.hub import HUB
from controlplane.live.memory import MemoryStore
from controlplane.live.port import CLEARED, FRAME, LiveError
from permissions.models import AuditEvent
from resilience.clock import FakeClock
from tests.permissions.api.world import Cast, refused

pytestmark = pytest.mark.both_databases


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    """A hub as at the start of a process, on a store and a clock of the test's own."""
    found = FakeClock()
    store.use(MemoryStore())
    HUB._begin_anew()
    monkeypatch.setattr(HUB, "_clock", found)
    yield found
    HUB._begin_anew()
    store.reset()


def frame(**figures: Any) -> None:
    body = {"v": 1, "seq": 1, "fence": 1, "at": 1_700_000_000.0, "state": "ok", "leader": "aa", "maintenance": "off", **figures}
    HUB._take(FRAME, msgspec.json.encode(body))


def event(number: int, **more: Any) -> dict[str, Any]:
    whole = {"at": 1.0, "name": f"loop.e{number}", "severity": "info", "kind": "event", "realm": "", "actor": "", "subject": ""}
    return {**whole, "permission": "", "decision": "", "node": "h:1", "request_id": "", "data": {}, **more}


def test_the_status_is_the_frame_in_one_word_and_some_counts(cast: Cast) -> None:
    frame(nodes=3, checks_per_s=12.5, open_breakers=1, state="degraded", hit_rate=None)
    found = cast.bob.get("system/status").json
    assert (found["status"], found["live"], found["nodes"], found["checks_per_s"]) == ("degraded", True, 3, 12.5)
    assert found["hit_rate"] is None and found["p95_ms"] is None


def test_an_old_frame_is_never_told_as_now(cast: Cast, clock: FakeClock) -> None:
    frame(nodes=3, checks_per_s=12.5)
    clock.advance(3.5)
    found = cast.bob.get("system/status").json
    assert (found["status"], found["live"], found["frame_age_s"]) == ("unknown", False, 3.5)
    assert found["checks_per_s"] is None and found["nodes"] is None and found["leader"] is None


def test_before_any_frame_nothing_is_known(cast: Cast) -> None:
    found = cast.bob.get("system/status").json
    assert (found["status"], found["at"], found["frame_age_s"]) == ("unknown", None, None)


@pytest.mark.parametrize("window", history.WINDOWS)
def test_performance_gives_columns_and_their_means(cast: Cast, window: str) -> None:
    HUB._nodes = [{"id": "a", "pid": 1, "loop_lag_ms": 1.0}, {"id": "b", "pid": 2, "loop_lag_ms": 9.0, "counts": {"x": 1}}]
    found = cast.bob.get(f"system/performance?window={window}").json
    assert found["window"] == window and found["step_s"] == history.WINDOWS[window].step_s
    assert all(len(column) == len(found["at"]) for column in found["figures"].values())
    assert [node["id"] for node in found["slowest"]] == ["b", "a"] and "counts" not in found["slowest"][0]


@pytest.mark.parametrize("query", ["window=2h", "window=", "window=%00", "windows=1h", "window=" + "9" * 5_000])
def test_a_wrong_window_is_refused(cast: Cast, query: str) -> None:
    assert cast.bob.get(f"system/performance?{query}").status == 400


def test_events_are_paged_behind_an_id(cast: Cast) -> None:
    ids = store.current().append([event(number) for number in range(10)])
    found = cast.bob.get("system/events?limit=4").json
    assert [one["id"] for one in found["events"]] == ids[6:] and found["last"] == ids[9] and found["gap"] is False
    found = cast.bob.get(f"system/events?after={ids[2]}&limit=4").json
    assert [one["id"] for one in found["events"]] == ids[3:7] and found["last"] == ids[6]
    found = cast.bob.get(f"system/events?after={ids[9]}").json
    assert (found["events"], found["last"], found["gap"]) == ([], ids[9], False)
    assert cast.bob.get("system/events?after=0000000000001-000000").json["gap"] is True


def test_a_filter_that_fits_nothing_gets_on_too(cast: Cast) -> None:
    ids = store.current().append([event(number) for number in range(5)])
    found = cast.bob.get(f"system/events?after={ids[0]}&severity=critical").json
    assert (found["events"], found["last"]) == ([], ids[4])


def test_events_are_filtered(cast: Cast) -> None:
    store.current().append(
        [
            event(1, severity="critical"),
            event(2, name="storage.down", actor="user:bob"),
            event(3, kind="decision", decision="deny"),
        ]
    )

    def names(query: str) -> list[str]:
        return [one["name"] for one in cast.bob.get(f"system/events?{query}").json["events"]]

    assert names("severity=critical") == ["loop.e1"]
    assert names("type=storage.") == ["storage.down"]
    assert names("actor=user:bob&type=loop") == []
    assert names("kind=decision&decision=deny") == ["loop.e3"]


def test_what_happened_in_a_realm_that_is_not_ones_own_to_see_is_left_out(cast: Cast) -> None:
    store.current().append([event(1, realm="default"), event(2, realm="elsewhere"), event(3)])
    assert [one["name"] for one in cast.bob.get("system/events").json["events"]] == ["loop.e1", "loop.e3"]


WRONG = ["after=x", "after=1-1-1", "after=%C3%A9-1", "limit=0", "limit=-1", "limit=1e3", "limit=99999", "limit=", "severity=loud",
         "kind=x", "decision=maybe", "nothing=1", "after=" + "1" * 5_000]  # fmt: skip


@pytest.mark.parametrize("query", WRONG)
def test_wrong_parameters_are_refused(cast: Cast, query: str) -> None:
    assert cast.bob.get(f"system/events?{query}").status == 400


def test_clearing_is_audited_and_leaves_a_mark_and_the_audit_whole(cast: Cast) -> None:
    ids = store.current().append([event(1), event(2)])
    before = set(AuditEvent.objects.values_list("pk", flat=True))
    answer = cast.bob.delete("system/events?reason=a+quiet+start")
    assert answer.status == 200
    found = cast.bob.get(f"system/events?after={ids[0]}").json
    assert [one["name"] for one in found["events"]] == [CLEARED] and found["gap"] is True
    assert found["events"][0]["actor"] == "user:bob" and found["last"] == answer.json["last"]
    entry = AuditEvent.objects.get(action="control_events_clear")
    assert (entry.actor, entry.reason) == ("user:bob", "a quiet start")
    assert before < set(AuditEvent.objects.values_list("pk", flat=True))


def test_who_may_only_look_clears_nothing(cast: Cast) -> None:
    refused(cast.charlie.get("system/status"), 403, "forbidden")
    refused(cast.charlie.get("system/performance"), 403, "forbidden")
    refused(cast.charlie.get("system/events"), 403, "forbidden")
    store.current().append([event(1)])
    refused(cast.charlie.delete("system/events"), 403, "forbidden")
    assert len(store.current().events()) == 1 and not AuditEvent.objects.filter(action="control_events_clear").exists()


def test_a_store_that_does_not_answer_is_a_503_that_says_so(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_given: object, **_named: object) -> Any:
        raise LiveError("events: ConnectionError")

    for name in ("events", "frames", "clear_events"):
        monkeypatch.setattr(store.current(), name, away)
    assert cast.bob.get("system/events").status == 503
    assert cast.bob.get("system/performance?window=live").status == 503
    assert cast.bob.delete("system/events").status == 503
    assert cast.bob.get("system/status").status == 200
