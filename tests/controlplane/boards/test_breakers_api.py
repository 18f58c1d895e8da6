"""/api/v1/system/breakers as operators use it: what is measured, what is forced, by whom, until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from controlplane.services import boards
from permissions.models import AuditEvent
from resilience import registry
from resilience.storage import use_default
from resilience.storage.memory import MemoryStore
from tests.permissions.api.world import Api, Cast, refused

PATH = "system/breakers"
OPEN = f"{PATH}/billing/force-open"
ACTIONS = ("force-open", "force-closed", "auto")


@pytest.fixture
def billing() -> Any:
    return registry.breaker("billing", minimum_calls=4, open_s=30.0)


def lines(api: Api) -> dict[str, Any]:
    boards.forget()
    return {line["name"]: line for line in api.get(PATH).json["results"]}


def fail(breaker: Any, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 / 0)


def test_the_list_tells_what_each_breaker_measures(cast: Cast, billing: Any) -> None:
    for _ in range(3):
        billing.call(int)
    line = lines(cast.bob)["billing"]
    assert (line["state"], line["measured_state"], line["force"]) == ("closed", "closed", None)
    assert (line["calls"], line["failures"], line["failure_share"]) == (3, 0, 0.0)
    fail(billing, 3)
    line = lines(cast.bob)["billing"]
    assert (line["state"], line["calls"], line["openings"]) == ("open", 0, 1)
    assert 29 < line["next_probe_s"] <= 30
    assert line["outcomes"]["failure"] >= 3


def test_breakers_of_the_caches_are_listed_before_anybody_used_them(cast: Cast) -> None:
    found = lines(cast.bob)
    assert {"database", "permission_cache", "permission_cache_lock"} <= set(found)
    assert all(found[name]["of"] == "process" for name in ("database", "permission_cache"))


def test_what_is_open_or_forced_stands_first(cast: Cast, billing: Any, committed: Callable[[], Any]) -> None:
    registry.breaker("aaa")
    fail(billing, 4)
    assert next(iter(lines(cast.bob))) == "billing"
    with committed():
        cast.bob.post(f"{PATH}/aaa/force-closed", {"reason": "to see"})
    assert list(lines(cast.bob))[:2] == ["aaa", "billing"]


def test_a_force_holds_until_its_end_and_says_who_and_why(cast: Cast, billing: Any, committed: Callable[[], Any]) -> None:
    with committed():
        answer = cast.bob.post(OPEN, {"reason": "they move house", "for_s": 600})
    assert answer.status == 200
    force = lines(cast.bob)["billing"]["force"]
    assert (force["to"], force["reason"], force["author"]) == ("open", "they move house", "user:bob")
    assert time.time() + 590 < force["until"] <= time.time() + 601
    assert lines(cast.bob)["billing"]["measured_state"] == "closed", "what is measured stands apart"
    with pytest.raises(Exception, match="forced"):
        billing.call(int)
    with committed():
        answer = cast.bob.post(f"{PATH}/billing/auto", {"reason": "they are back"})
    assert (answer.status, lines(cast.bob)["billing"]["force"]) == (200, None)
    assert billing.call(int) == 0


def test_an_end_may_be_a_moment(cast: Cast, billing: Any, committed: Callable[[], Any]) -> None:
    until = round(time.time()) + 3_000
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
    for given in (text, until, float(until)):
        with committed():
            assert cast.bob.post(f"{PATH}/billing/force-closed", {"reason": "why", "until": given}).status == 200
        assert lines(cast.bob)["billing"]["force"]["until"] == until


def test_an_action_is_audited_with_its_author_before_it_is_done(cast: Cast, billing: Any, committed: Callable[[], Any]) -> None:
    with committed():
        cast.bob.post(OPEN, {"reason": "they move house"}, X_Request_ID="ab-12")
        cast.bobs_key.post(f"{PATH}/billing/auto", {"reason": "they are back"})
    first, second = AuditEvent.objects.filter(object_id="breakers.billing").order_by("seq")
    assert (first.action, first.actor, first.actor_kind, first.reason) == (
        "control_force_open",
        "user:bob",
        "user",
        "they move house",
    )
    assert first.after is not None and first.after["outcome"] == "asked"
    assert (second.action, second.actor_kind, second.reason) == ("control_auto", "key", "they are back")


WRONG: list[tuple[Any, str, str]] = [
    ({}, "reason", "is missing"),
    ({"reason": ""}, "reason", "is missing"),
    ({"reason": "   "}, "reason", "is missing"),
    ({"reason": 7}, "reason", "must be a text"),
    ({"reason": True}, "reason", "must be a text"),
    ({"reason": "a\nb"}, "reason", "without control characters"),
    ({"reason": "a\u200b" * 300}, "reason", ""),
    ({"reason": "ü" * 501}, "reason", "at most 500"),
    ({"reason": "a" * 1001}, "reason", "at most 1000"),
    ({"reason": "why", "for_s": 0}, "for_s", "must be 1 to 2592000"),
    ({"reason": "why", "for_s": -1}, "for_s", "must be 1 to 2592000"),
    ({"reason": "why", "for_s": True}, "for_s", "must be a number, not a boolean"),
    ({"reason": "why", "for_s": "60"}, "for_s", "must be a number, not a text"),
    ({"reason": "why", "for_s": 1e300}, "for_s", "must be 1 to 2592000"),
    ({"reason": "why", "for_s": [60]}, "for_s", "must be a number"),
    ({"reason": "why", "until": 5}, "until", "a time to come"),
    ({"reason": "why", "until": -5}, "until", "between the years"),
    ({"reason": "why", "until": True}, "until", "must be a number"),
    ({"reason": "why", "until": "tomorrow"}, "until", "must be a time such as"),
    ({"reason": "why", "until": "2030-01-01T00:00:00"}, "until", "must name its zone"),
    ({"reason": "why", "until": "2999-01-01T00:00:00Z"}, "until", "at most 30 days"),
    ({"reason": "why", "until": "१२३"}, "until", "must be a time such as"),
    ({"reason": "why", "until": 10**18}, "until", "between the years"),
    ({"reason": "why", "until": {}}, "until", "must be a number"),
    ({"reason": "why", "until": "2030-01-01T00:00:00Z", "for_s": 5}, "for_s", "must be left out"),
    ({"reason": "why", "to": "open"}, "to", "is not known here"),
    ([], "", "must be an object"),
    ("open", "", "must be an object"),
]


def test_bad_input_names_its_place_and_changes_nothing(cast: Cast, billing: Any) -> None:
    for body, where, told in WRONG:
        answer = cast.bob.post(OPEN, body)
        refused(answer, 400, "invalid")
        assert told in answer.places()[where], (body, answer.places())
    assert lines(cast.bob)["billing"]["force"] is None
    assert not AuditEvent.objects.filter(action__startswith="control_").exists()


def test_what_is_no_json_is_refused(cast: Cast, billing: Any) -> None:
    for raw in (
        b"{",
        b'{"reason": "x", "for_s": NaN}',
        b'{"reason": "x", "for_s": Infinity}',
        b'{"reason": "\\ud800"}',
        b"\xff",
        b'{"until": 1' + b"0" * 400 + b"}",
    ):
        assert cast.bob.send("POST", OPEN, raw=raw).status == 400, raw
    assert lines(cast.bob)["billing"]["force"] is None


@pytest.mark.parametrize("name", ["nobody", "%2e%2e", "b%20c", "billing%00", "%C3%A9", "a" * 3_000, "billing;drop", "{x}"])
def test_a_name_that_nobody_declares_is_404(cast: Cast, billing: Any, name: str) -> None:
    refused(cast.bob.get(f"{PATH}/{name}"), 404, "not_found")
    for action in ACTIONS:
        refused(cast.bob.post(f"{PATH}/{name}/{action}", {"reason": "why"}), 404, "not_found")
    assert not AuditEvent.objects.filter(action__startswith="control_").exists()


@pytest.mark.parametrize("name", ["a.b", "A-b_c.9", "auto", "force-open", "...", "9"])
def test_a_name_with_signs_is_reached(cast: Cast, committed: Callable[[], Any], name: str) -> None:
    registry.breaker(name)
    assert cast.bob.get(f"{PATH}/{name}").json["name"] == name
    with committed():
        assert cast.bob.post(f"{PATH}/{name}/force-open", {"reason": "why"}).status == 200
    assert lines(cast.bob)[name]["force"]["to"] == "open"


def test_a_breaker_that_only_the_configuration_names_is_listed(cast: Cast, committed: Callable[[], Any]) -> None:
    with committed():
        cast.alice.put("system/config/breakers", {"values": {"partner": {"open_s": 7}}})
    assert lines(cast.bob)["partner"]["state"] == "closed"


def test_no_permission_view_and_operate(cast: Cast, billing: Any, watcher: Api, committed: Callable[[], Any]) -> None:
    for stranger in (cast.plain_key,):
        refused(stranger.get(PATH), 403, "forbidden")
    refused(cast.nobody.get(PATH), 401, "unauthenticated")
    assert watcher.get(PATH).status == watcher.get(f"{PATH}/billing").status == 200
    for action in ACTIONS:
        answer = watcher.post(f"{PATH}/billing/{action}", {"reason": "why"})
        refused(answer, 403, "forbidden")
        assert "permsite.control:operate on permsite.control:resilience" in answer.problem["detail"]
        refused(cast.nobody.post(f"{PATH}/billing/{action}", {"reason": "why"}), 401, "unauthenticated")
        with committed():
            assert cast.bob.post(f"{PATH}/billing/{action}", {"reason": "why"}).status == 200


def test_who_holds_nothing_sees_nothing(cast: Cast, billing: Any) -> None:
    refused(cast.charlie.get(PATH), 403, "forbidden")
    refused(cast.charlie.get(f"{PATH}/billing"), 403, "forbidden")
    refused(cast.charlie.get(f"{PATH}/nobody"), 403, "forbidden")
    for action in ACTIONS:
        refused(cast.charlie.post(f"{PATH}/billing/{action}", {}), 403, "forbidden")


def test_no_other_method_is_there(cast: Cast, billing: Any) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        for path in (PATH, f"{PATH}/billing", OPEN):
            refused(cast.bob.send(method, path), 405, "method_not_allowed")
    refused(cast.bob.get(OPEN), 405, "method_not_allowed")


def test_the_store_is_read_at_most_once_a_second(cast: Cast, billing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    snapshot = type(billing).snapshot

    def counted(self: Any) -> Any:
        asked.append(self.name)
        return snapshot(self)

    monkeypatch.setattr(type(billing), "snapshot", counted)
    boards.forget()
    for _ in range(5):
        cast.bob.get(PATH)
    assert asked.count("billing") == 1


def test_one_faulty_breaker_does_not_hide_the_others(cast: Cast, billing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.breaker("other")
    snapshot = type(billing).snapshot

    def torn(self: Any) -> Any:
        if self.name == "billing":
            raise RuntimeError("torn")
        return snapshot(self)

    monkeypatch.setattr(type(billing), "snapshot", torn)
    found = lines(cast.bob)
    assert (found["billing"]["state"], found["billing"]["problem"]) == ("unknown", "RuntimeError")
    assert found["other"]["state"] == "closed"


def test_each_process_keeps_a_store_of_its_own(cast: Cast, billing: Any) -> None:
    use_default(MemoryStore())
    assert lines(cast.bob)["billing"]["of"] == "process"
    assert cast.bob.get(PATH).json["store"]["shared"] is False
