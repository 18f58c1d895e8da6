"""/api/v1/system/bulkheads and /locks as operators use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.services import boards
from permissions.models import AuditEvent
from resilience import registry
from resilience.errors import BulkheadFull
from resilience.lock import DistributedLock, LockFactory
from tests.permissions.api.world import Api, Cast, refused

BULKHEADS, LOCKS = "system/bulkheads", "system/locks"
DRAIN = f"{BULKHEADS}/reports/drain"


@pytest.fixture
def reports() -> Any:
    return registry.bulkhead("reports", max_concurrent=3)


@pytest.fixture
def nightly() -> Iterator[DistributedLock]:
    lock = LockFactory().create("nightly", ttl_s=30.0)
    assert lock.acquire()
    yield lock
    lock.release()


def lines(api: Api, path: str) -> dict[str, Any]:
    boards.forget()
    return {line["name"]: line for line in api.get(path).json["results"]}


def test_a_bulkhead_tells_who_is_inside_and_for_how_long(cast: Cast, reports: Any) -> None:
    with reports as permit:
        line = lines(cast.bob, BULKHEADS)["reports"]
        assert (line["in_flight"], line["limit"], line["share"]) == (1, 3, 0.3333)
        assert [holder["owner"] for holder in line["holders"]] == [permit.id]
        assert 0 < line["holders"][0]["lease_left_s"] <= 30
    assert lines(cast.bob, BULKHEADS)["reports"]["in_flight"] == 0


def test_the_fullest_bulkhead_stands_first(cast: Cast, reports: Any) -> None:
    registry.bulkhead("a-quiet-one", max_concurrent=3)
    with reports:
        assert next(iter(lines(cast.bob, BULKHEADS))) == "reports"


def test_a_drain_admits_nobody_until_it_is_ended(cast: Cast, reports: Any) -> None:
    with reports:
        answer = cast.bob.post(DRAIN, {"reason": "the host restarts", "for_s": 120})
        assert (answer.status, answer.json["inside"]) == (200, 1)
        assert 119 < answer.json["bulkhead"]["drained_s"] <= 120
    with pytest.raises(BulkheadFull):
        reports.acquire()
    assert cast.bob.post(DRAIN, {"reason": "it is back", "for_s": 0}).json["bulkhead"]["drained_s"] == 0
    reports.acquire().release()
    assert AuditEvent.objects.filter(action="control_drain", object_id="bulkheads.reports", actor="user:bob").count() == 2


WRONG: list[tuple[Any, str, str]] = [
    ({}, "reason", "is missing"),
    ({"reason": " "}, "reason", "is missing"),
    ({"reason": ["x"]}, "reason", "must be a text"),
    ({"reason": "x\t"}, "reason", "without control characters"),
    ({"reason": "x", "for_s": -1}, "for_s", "must be 0 to 86400"),
    ({"reason": "x", "for_s": 86_401}, "for_s", "must be 0 to 86400"),
    ({"reason": "x", "for_s": True}, "for_s", "not a boolean"),
    ({"reason": "x", "for_s": "60"}, "for_s", "not a text"),
    ({"reason": "x", "for_s": {}}, "for_s", "not an object"),
    ({"reason": "x", "until": "2030-01-01T00:00:00Z"}, "until", "is not known here"),
    ([], "", "must be an object"),
]


def test_a_wrong_drain_names_its_place_and_drains_nothing(cast: Cast, reports: Any) -> None:
    for body, where, told in WRONG:
        answer = cast.bob.post(DRAIN, body)
        refused(answer, 400, "invalid")
        assert told in answer.places()[where], body
    assert cast.bob.send("POST", DRAIN, raw=b'{"reason": "x", "for_s": NaN}').status == 400
    reports.acquire().release()
    assert not AuditEvent.objects.filter(action__startswith="control_").exists()


def test_a_lock_tells_its_owner_its_fence_and_the_rest_of_its_lease(cast: Cast, nightly: DistributedLock) -> None:
    line = lines(cast.bob, LOCKS)["nightly"]
    assert (line["held"], line["owner"], line["fence"], line["here"]) == (True, nightly.token, nightly.fence, True)
    assert 0 < line["lease_left_s"] <= 30


def test_a_broken_lock_is_lost_by_its_holder_and_free_for_another(cast: Cast, nightly: DistributedLock) -> None:
    answer = cast.bob.post(f"{LOCKS}/nightly/break", {"reason": "it hangs"})
    assert (answer.status, answer.json["owner"], answer.json["fence"]) == (200, nightly.token, nightly.fence)
    assert not nightly.renew()
    other = LockFactory().create("nightly")
    assert other.acquire()
    assert (other.fence or 0) > (nightly.fence or 0)
    other.release()
    entry = AuditEvent.objects.get(action="control_break_lock")
    assert (entry.actor, entry.reason, entry.object_id) == ("user:bob", "it hangs", "locks.nightly")


def test_a_free_lock_cannot_be_broken_and_nothing_is_recorded(cast: Cast) -> None:
    refused(cast.bob.post(f"{LOCKS}/nobodys/break", {"reason": "x"}), 404, "not_found")
    assert not AuditEvent.objects.filter(action__startswith="control_").exists()


def test_any_lock_is_looked_up_by_its_name(cast: Cast, nightly: DistributedLock) -> None:
    assert lines(cast.bob, f"{LOCKS}?name=nightly")["nightly"]["held"] is True
    assert lines(cast.bob, f"{LOCKS}?name=nobodys")["nobodys"]["held"] is False
    for name in ("", "a b", "%C3%A9", "a" * 101, "%7Bx%7D", "..%2F.."):
        refused(cast.bob.get(f"{LOCKS}?name={name}"), 400, "invalid")
        if name:
            refused(cast.bob.post(f"{LOCKS}/{name.replace('%2F', '')}/break", {"reason": "x"}), 400 if ".." not in name else 404,
                    "invalid" if ".." not in name else "not_found")  # fmt: skip


def test_who_may_what(cast: Cast, watcher: Api, reports: Any, nightly: DistributedLock) -> None:
    actions = (DRAIN, f"{LOCKS}/nightly/break")
    for path in (BULKHEADS, LOCKS):
        refused(cast.nobody.get(path), 401, "unauthenticated")
        refused(cast.plain_key.get(path), 403, "forbidden")
        assert watcher.get(path).status == 200
    for path in actions:
        refused(cast.nobody.post(path, {"reason": "x"}), 401, "unauthenticated")
        answer = watcher.post(path, {"reason": "x"})
        refused(answer, 403, "forbidden")
        assert "permsite.control:operate" in answer.problem["detail"]
        refused(cast.bob.get(path), 405, "method_not_allowed")
        assert cast.bob.post(path, {"reason": "x"}).status == 200


def test_who_holds_nothing_is_refused(cast: Cast, reports: Any, nightly: DistributedLock) -> None:
    for path in (BULKHEADS, LOCKS, f"{LOCKS}?name=nightly"):
        refused(cast.charlie.get(path), 403, "forbidden")
    for path in (DRAIN, f"{LOCKS}/nightly/break", f"{BULKHEADS}/nobody/drain"):
        refused(cast.charlie.post(path, {"reason": "x"}), 403, "forbidden")


def test_a_bulkhead_that_nobody_declares_is_404(cast: Cast) -> None:
    for name in ("nobody", "%C3%A9", "a%20b", "a" * 3_000):
        refused(cast.bob.post(f"{BULKHEADS}/{name}/drain", {"reason": "x"}), 404, "not_found")
