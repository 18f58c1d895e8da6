"""/api/v1/system/cache/warm: a job in the background of the process that answers, its progress, its end, and who may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from controlplane.api import cache_warm
from permissions.api import components
from permissions.cache import known_ids, warmup
from permissions.cache.realm import STATES
from tests.permissions.api.world import Cast, refused

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
PATH = "system/cache/warm"
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _no_job() -> Iterator[None]:
    warmup._after_fork()
    yield
    warmup.cancel(wait_s=PATIENCE_S)
    warmup._after_fork()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A job stands in its second component until this is set."""
    door = threading.Event()
    load = known_ids.load

    def wait(*given: Any, **named: Any) -> Any:
        assert door.wait(PATIENCE_S)
        return load(*given, **named)

    monkeypatch.setattr(known_ids, "load", wait)
    yield door
    door.set()
    warmup.cancel(wait_s=PATIENCE_S)


def fits(body: Any) -> None:
    cache_warm.publish()
    schema = components.components()["schemas"]["CacheWarmup"]
    Draft202012Validator(schema).validate(body)


def ended() -> None:
    job = warmup.last()
    assert job is not None
    assert job.wait(PATIENCE_S)


def test_it_is_accepted_at_once_and_the_progress_is_told_until_the_end(cast: Cast, held: threading.Event) -> None:
    answer = cast.bob.post(PATH, {"realm": "default"})
    assert answer.status == 202
    fits(answer.json)
    job = answer.json["job"]
    assert answer.json["state"] == "running"
    assert cast.bob.get(PATH).json["job"] == job
    held.set()
    ended()
    found = cast.bob.get(PATH)
    assert found.status == 200
    fits(found.json)
    assert (found.json["job"], found.json["state"], found.json["ready"], found.json["ratio"]) == (job, "done", True, 1.0)
    assert [line["component"] for line in found.json["components"]] == list(warmup.COMPONENTS)
    assert "default" in STATES


def test_before_the_first_there_is_none(cast: Cast) -> None:
    answer = cast.bob.get(PATH)
    assert answer.status == 200
    fits(answer.json)
    assert (answer.json["job"], answer.json["state"], answer.json["components"]) == (None, "none", [])


def test_an_empty_object_warms_every_realm(cast: Cast) -> None:
    assert cast.bob.post(PATH, {}).json["realm"] is None
    ended()
    assert cast.bob.post(PATH, {"realm": None, "rate": 100.5}).status == 202
    ended()


def test_the_same_again_is_the_job_that_runs_and_another_realm_is_refused(cast: Cast, held: threading.Event) -> None:
    job = cast.bob.post(PATH, {"realm": "default"}).json["job"]
    assert cast.bob.post(PATH, {"realm": "default", "rate": 5}).json["job"] == job
    refused(cast.bob.post(PATH, {}), 409, "conflict")


def test_it_can_be_ended_and_ending_nothing_is_no_error(cast: Cast, held: threading.Event) -> None:
    assert cast.bob.send("delete", PATH).json["state"] == "none"
    job = cast.bob.post(PATH, {}).json["job"]
    answer = cast.bob.send("delete", PATH)
    assert (answer.status, answer.json["job"]) == (202, job)
    held.set()
    ended()
    assert cast.bob.get(PATH).json["state"] == "cancelled"


WRONG: list[tuple[Any, str, str]] = [
    ([], "", "must be an object"),
    ("default", "", "must be an object"),
    ({"realm": 7}, "realm", "must be a text, not int"),
    ({"realm": True}, "realm", "must be a text, not bool"),
    ({"realm": ["default"]}, "realm", "must be a text, not list"),
    ({"rate": 0}, "rate", "from 1 to 1000000"),
    ({"rate": -1}, "rate", "from 1 to 1000000"),
    ({"rate": True}, "rate", "from 1 to 1000000"),
    ({"rate": "fast"}, "rate", "from 1 to 1000000"),
    ({"rate": None}, "rate", "from 1 to 1000000"),
    ({"rate": 1e308}, "rate", "from 1 to 1000000"),
    ({"rate": [1]}, "rate", "from 1 to 1000000"),
    ({"realms": "default"}, "realms", "is not known here; known are realm, rate"),
]


def test_bad_input_is_a_problem_that_names_its_place_and_starts_nothing(cast: Cast) -> None:
    for body, where, told in WRONG:
        answer = cast.bob.post(PATH, body)
        refused(answer, 400, "invalid")
        assert told in answer.places()[where], body
    for realm in ("nowhere", "", "ü" * 300):
        refused(cast.bob.post(PATH, {"realm": realm}), 404, "not_found")
    assert warmup.last() is None


def test_only_who_operates_starts_and_ends_it_and_only_who_looks_sees_it(cast: Cast) -> None:
    for method, body in (("post", {}), ("delete", None), ("get", None)):
        refused(cast.charlie.send(method, PATH, body), 403, "forbidden")
    assert warmup.last() is None
    assert cast.admin_key.get(PATH).status == 200
