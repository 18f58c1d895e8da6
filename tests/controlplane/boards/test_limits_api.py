"""/api/v1/system/limits as operators use it: rules, one key, overrides, resets, shadow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from controlplane.services import boards, limits
from permissions.models import AuditEvent
from resilience import registry
from tests.permissions.api.world import Api, Cast, refused

PATH = "system/limits"
GUESS = f"{PATH}/guess"
POSTS = {
    "override": {"key": "k", "limit": 9, "reason": "x"},
    "reset": {"key": "k", "reason": "x"},
    "shadow": {"on": True, "reason": "x"},
}


@pytest.fixture
def guess() -> Any:
    return registry.limiter("guess", limit=2, period_s=60.0)


def line(api: Api, rule: str = "guess") -> Any:
    boards.forget()
    return next(one for one in api.get(PATH).json["results"] if one["name"] == rule)


def test_a_rule_tells_what_it_admits_and_refuses(cast: Cast, guess: Any) -> None:
    names = ("allowed", "refused", "shadow_refused")
    before = line(cast.bob)  # of this process, whatever ran in it
    for _ in range(5):
        guess.acquire("k")
    found = line(cast.bob)
    assert (found["algorithm"], found["limit"], found["period_s"]) == ("gcra", 2, 60.0)
    assert [found[name] - before[name] for name in names] == [2, 3, 0]
    assert found["sources"]["memory"] - before["sources"].get("memory", 0) == 5


def test_a_rule_in_shadow_tells_what_it_would_have_refused(cast: Cast) -> None:
    trial = registry.limiter("trial", limit=1, period_s=60.0, shadow=True)
    assert all(trial.acquire("k") for _ in range(4))
    found = line(cast.bob, "trial")
    assert (found["shadow"], found["allowed"], found["refused"], found["shadow_refused"]) == (True, 1, 0, 3)


def test_rates_come_with_the_second_look_and_never_below_nothing(cast: Cast, guess: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr(boards, "now_s", lambda: now[0])
    monkeypatch.setattr(limits, "_looks", {})
    assert line(cast.bob)["allowed_per_s"] is None
    guess.acquire("k")
    guess.acquire("k")
    now[0] += 4
    assert line(cast.bob)["allowed_per_s"] == 0.5
    limits._looks["guess"][0] = (now[0] - 4, (100.0, 0.0, 0.0))
    now[0] += 1
    assert line(cast.bob)["allowed_per_s"] is None, "a process went and took its counts with it"


def test_keys_are_in_clear_for_who_may_operate_alone(cast: Cast, guess: Any, watcher: Api, committed: Callable[[], Any]) -> None:
    registry.control._store.run("hot_refused", "hot:guess", (0, 100, 60_000_000, 2, "ip:192.0.2.7", 4, "user:ann", 2))
    with committed():
        cast.bob.post(f"{GUESS}/override", {"key": "user:ann", "limit": 7, "reason": "x"})
    found = line(cast.bob)
    assert found["top"] == [{"key": "ip:192.0.2.7", "refusals": 4}, {"key": "user:ann", "refusals": 2}]
    assert [one["key"] for one in found["overrides"]] == ["user:ann"]
    hidden = line(watcher)
    assert hidden["keys"] == "hashed"
    for text in (str(hidden), str(watcher.get(GUESS).json), str(watcher.get("system/snapshot/limits").json)):
        assert "192.0.2.7" not in text and "user:ann" not in text
    assert hidden["top"][0]["key"] == limits.hashed("ip:192.0.2.7") != limits.hashed("ip:192.0.2.8")
    assert hidden["overrides"][0]["key"] == hidden["top"][1]["key"], "the same key has the same sign everywhere"


def test_a_sign_cannot_be_made_without_the_sites_secret(settings: Any) -> None:
    before = limits.hashed("ip:192.0.2.7")
    settings.SECRET_KEY = "another" * 9
    assert limits.hashed("ip:192.0.2.7") != before


def test_inspecting_a_key_takes_nothing_from_it(cast: Cast, guess: Any, watcher: Api) -> None:
    guess.acquire("ip:1")
    for _ in range(3):
        found = watcher.get(f"{GUESS}/inspect?key=ip:1").json
        assert (found["allowed"], found["remaining"], found["limit"], found["override"]) == (True, 1, 2, None)
        assert 29 < found["reset_after_s"] <= 30
    guess.acquire("ip:1")
    found = watcher.get(f"{GUESS}/inspect?key=ip:1").json
    assert (found["allowed"], found["remaining"]) == (False, 0)
    assert 29 < found["retry_after_s"] <= 30


def test_what_can_never_be_admitted_has_no_time(cast: Cast, guess: Any) -> None:
    found = cast.bob.get(f"{GUESS}/inspect?key=k&cost=3").json
    assert (found["allowed"], found["retry_after_s"]) == (False, None)


def test_a_wrong_question_about_a_key_is_refused(cast: Cast, guess: Any) -> None:
    for query in ("", "key=", "key=" + "a" * 201):
        refused(cast.bob.get(f"{GUESS}/inspect?{query}"), 400, "invalid")
    for query in (
        "key=%00",
        "key=a%0Ab",
        "key=%7F",
        "key=k&cost=0.5",
        "key=k&cost=-1",
        "key=k&cost=nan",
        "key=k&cost=%D9%A3",
        "key=k&cost=1&cost=1",
        "key=k&x=1",
    ):
        refused(cast.bob.get(f"{GUESS}/inspect?{query}"), 400, "bad_request")
    refused(cast.bob.get(f"{GUESS}/inspect?key=k&cost=0"), 400, "invalid")
    assert cast.bob.get(f"{GUESS}/inspect?key=%E6%9D%8E%20%F0%9F%90%BC").json["remaining"] == 2


def test_an_override_holds_for_its_key_until_its_end(cast: Cast, guess: Any, committed: Callable[[], Any]) -> None:
    with committed():
        answer = cast.bob.post(f"{GUESS}/override", {"key": "vip", "limit": 9, "for_s": 600, "reason": "a migration"})
    assert answer.status == 200
    assert time.time() + 590 < answer.json["until"] <= time.time() + 601
    assert (guess.peek("vip").limit, guess.peek("other").limit) == (9, 2)
    assert cast.bob.get(f"{GUESS}/inspect?key=vip").json["override"]["limit"] == 9
    assert [one["limit"] for one in line(cast.bob)["overrides"]] == [9]
    with committed():
        ended = cast.bob.post(f"{GUESS}/override", {"key": "vip", "limit": None, "reason": "done"})
    assert (ended.status, ended.json["until"], guess.peek("vip").limit) == (200, None, 2)
    assert AuditEvent.objects.filter(action="control_override", object_id="limiters.guess", actor_kind="user").count() == 2


def test_a_reset_makes_a_key_as_if_never_used(cast: Cast, guess: Any) -> None:
    guess.acquire("k")
    guess.acquire("k")
    answer = cast.bob.post(f"{GUESS}/reset", {"key": "k", "reason": "their office shares one address"})
    assert (answer.status, answer.json["remaining"]) == (200, 2)
    assert guess.acquire("k")


def test_shadow_is_switched_on_and_off(cast: Cast, guess: Any, committed: Callable[[], Any]) -> None:
    with committed():
        assert cast.bob.post(f"{GUESS}/shadow", {"on": True, "reason": "to see"}).status == 200
    assert line(cast.bob)["shadow"] is True
    assert all(guess.acquire("k") for _ in range(5))
    with committed():
        cast.bob.post(f"{GUESS}/shadow", {"on": False, "reason": "it fits"})
    assert line(cast.bob)["shadow"] is False
    assert not guess.acquire("k")


def test_if_match_names_the_version_that_was_looked_at(cast: Cast, guess: Any, committed: Callable[[], Any]) -> None:
    assert cast.bob.get(GUESS).headers["ETag"] == cast.bob.get(PATH).headers["ETag"] == '"0"'
    with committed():
        assert cast.bob.post(f"{GUESS}/shadow", {"on": True, "reason": "x"}, If_Match='"0"').headers["ETag"] == '"1"'
    for path, body in (("override", POSTS["override"]), ("shadow", {"on": False, "reason": "x"})):
        refused(cast.bob.post(f"{GUESS}/{path}", body, If_Match='"0"'), 409, "conflict")
        refused(cast.bob.post(f"{GUESS}/{path}", body, If_Match="zero"), 400, "bad_request")
    assert line(cast.bob)["shadow"] is True
    assert guess.peek("k").limit == 2


WRONG: list[tuple[str, Any, str, str]] = [
    ("override", {"limit": 9, "reason": "x"}, "key", "is missing"),
    ("override", {"key": "k", "reason": "x"}, "limit", "is missing"),
    ("override", {"key": "k", "limit": 9}, "reason", "is missing"),
    ("override", {"key": 7, "limit": 9, "reason": "x"}, "key", "must be a text"),
    ("override", {"key": "", "limit": 9, "reason": "x"}, "key", "must not be empty"),
    ("override", {"key": "a" * 201, "limit": 9, "reason": "x"}, "key", "at most 200"),
    ("override", {"key": "a\u0000", "limit": 9, "reason": "x"}, "key", "control character"),
    ("override", {"key": "k", "limit": 0, "reason": "x"}, "limit", "must be 1 to"),
    ("override", {"key": "k", "limit": -1, "reason": "x"}, "limit", "must be 1 to"),
    ("override", {"key": "k", "limit": 2.5, "reason": "x"}, "limit", "must be a whole number"),
    ("override", {"key": "k", "limit": True, "reason": "x"}, "limit", "not a boolean"),
    ("override", {"key": "k", "limit": "9", "reason": "x"}, "limit", "not a text"),
    ("override", {"key": "k", "limit": 10**15, "reason": "x"}, "limit", "must be 1 to"),
    ("override", {"key": "k", "limit": 9, "until": 5, "reason": "x"}, "until", "a time to come"),
    ("override", {"key": "k", "limit": 9, "for_s": 10**9, "reason": "x"}, "for_s", "must be 1 to"),
    ("reset", {"reason": "x"}, "key", "is missing"),
    ("reset", {"key": ["k"], "reason": "x"}, "key", "must be a text"),
    ("reset", {"key": "k"}, "reason", "is missing"),
    ("shadow", {"reason": "x"}, "on", "is missing"),
    ("shadow", {"on": 1, "reason": "x"}, "on", "true or false"),
    ("shadow", {"on": "yes", "reason": "x"}, "on", "true or false"),
    ("shadow", {"on": None, "reason": "x"}, "on", "true or false"),
    ("shadow", {"on": True, "reason": ""}, "reason", "is missing"),
]


def test_bad_input_names_its_place_and_changes_nothing(cast: Cast, guess: Any) -> None:
    for action, body, where, told in WRONG:
        answer = cast.bob.post(f"{GUESS}/{action}", body)
        refused(answer, 400, "invalid")
        assert told in answer.places()[where], (action, body, answer.places())
    assert limits.version() == 0
    assert not AuditEvent.objects.filter(action__startswith="control_").exists()


def test_a_limit_that_the_algorithm_cannot_count_is_refused_before_any_process_passes_over_it(cast: Cast) -> None:
    registry.limiter("log", algorithm="sliding_log", limit=5, period_s=60.0)
    answer = cast.bob.post(f"{PATH}/log/override", {"key": "k", "limit": 5_000, "reason": "x"})
    refused(answer, 400, "invalid")
    assert "1000" in answer.places()["limit"]
    assert limits.version() == 0


def test_a_rule_that_nobody_declares_is_404(cast: Cast, guess: Any) -> None:
    for name in ("nobody", "%C3%A9", "a%20b", "guess%00", "a" * 3_000):
        refused(cast.bob.get(f"{PATH}/{name}"), 404, "not_found")
        refused(cast.bob.get(f"{PATH}/{name}/inspect?key=k"), 404, "not_found")
        for action, body in POSTS.items():
            refused(cast.bob.post(f"{PATH}/{name}/{action}", body), 404, "not_found")


def test_who_may_what(cast: Cast, guess: Any, watcher: Api, committed: Callable[[], Any]) -> None:
    for path in (PATH, GUESS, f"{GUESS}/inspect?key=k"):
        refused(cast.nobody.get(path), 401, "unauthenticated")
        refused(cast.plain_key.get(path), 403, "forbidden")
        assert watcher.get(path).status == 200
        refused(watcher.post(path.partition("?")[0], {}), 405, "method_not_allowed")
    for action, body in POSTS.items():
        refused(cast.nobody.post(f"{GUESS}/{action}", body), 401, "unauthenticated")
        answer = watcher.post(f"{GUESS}/{action}", body)
        refused(answer, 403, "forbidden")
        assert "permsite.control:operate on permsite.control:limits" in answer.problem["detail"]
        with committed():
            assert cast.bob.post(f"{GUESS}/{action}", body).status == 200


def test_who_holds_nothing_is_refused(cast: Cast, guess: Any) -> None:
    for path in (PATH, GUESS, f"{GUESS}/inspect?key=k", f"{PATH}/nobody"):
        refused(cast.charlie.get(path), 403, "forbidden")
    for action, body in POSTS.items():
        refused(cast.charlie.post(f"{GUESS}/{action}", body), 403, "forbidden")


def test_an_operator_needs_no_right_to_change_the_configuration_itself(
    cast: Cast, guess: Any, committed: Callable[[], Any]
) -> None:
    refused(cast.bob.put("system/config/limiters", {"values": {}}), 403, "forbidden")
    with committed():
        assert cast.bob.post(f"{GUESS}/shadow", POSTS["shadow"]).status == 200
