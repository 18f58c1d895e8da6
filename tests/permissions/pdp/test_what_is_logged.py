"""Every way to a decision leaves one entry in the decision log, and no way leaves two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from permissions import pdp
from permissions.decision_log import ON, buffer
from permissions.engine.types import Request
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ALICE = ("user:alice", "post:read", "post:7")
REQUEST = Request(*ALICE)


@pytest.fixture(autouse=True)
def _office(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pdp.reset()
    apply(OFFICE)
    monkeypatch.setattr(buffer, "BUFFER", buffer.Buffer())
    for name, value in (("is_on", True), ("is_logged", True), ("mask", 0), ("ratio", 1.0)):
        monkeypatch.setattr(ON, name, value)
    yield


def logged() -> list[tuple[str, str, str | None, bool]]:
    entries = [(e.subject, e.permission, e.resource, e.decision.allowed) for e in buffer.BUFFER.entries]
    buffer.BUFFER.entries.clear()
    return entries


WAYS: dict[str, Callable[[], object]] = {
    "check": lambda: pdp.check(*ALICE),
    "check with an option": lambda: pdp.check(*ALICE, context={"mfa": True}),
    "check at the newest state": lambda: pdp.check(*ALICE, full=True),
    "acheck": lambda: asyncio.run(pdp.acheck(*ALICE)),
    "check_many": lambda: pdp.check_many([ALICE]),
    "check_many of mappings": lambda: pdp.check_many([{"subject": ALICE[0], "permission": ALICE[1], "resource": ALICE[2]}]),
    "decide": lambda: pdp.decide(REQUEST),
    "decide_many": lambda: pdp.decide_many([REQUEST]),
    "warm": lambda: pdp.warm(REQUEST, "default") or pdp.decide(REQUEST),
    "warm_many": lambda: pdp.warm_many([REQUEST], "default") or pdp.decide_many([REQUEST]),
    "explain": lambda: pdp.explain(*ALICE),
    "a batch of the wire": lambda: (
        pdp.plain_batch([ALICE[0]], [ALICE[1]], [ALICE[2]], "default", (False, True)) or pdp.decide_many([REQUEST])
    ),
    "one of the wire": lambda: pdp.plain_one(*ALICE, "default") or pdp.decide(REQUEST),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_decision_is_logged_once_by_every_way(way: str) -> None:
    for _ in range(3):  # from the rows, and then from memory
        WAYS[way]()
        assert logged() == [(*ALICE, True)]


@pytest.mark.parametrize("subject", ["user:charlie", "user:nobody"])
def test_a_denial_is_logged_as_one(subject: str) -> None:
    for _ in range(3):
        assert not pdp.check(subject, "post:read", "post:7")
        assert logged() == [(subject, "post:read", "post:7", False)]


def test_a_batch_that_memory_answers_in_part_is_logged_once() -> None:
    pdp.check(*ALICE)
    logged()
    apply('subjects: [{id: "user:dora"}]')
    pdp.check(*ALICE)
    logged()
    pdp.check_many([ALICE, ("user:dora", "post:read", "post:7")])
    assert logged() == [(*ALICE, True), ("user:dora", "post:read", "post:7", False)]


def test_nothing_is_logged_while_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ON, "is_on", False)
    for way in WAYS.values():
        way()
    assert logged() == []
