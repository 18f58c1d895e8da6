"""Memory too old to answer: however many ask at once on an event loop, one thread asks the database where it stands."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from permissions import pdp
from permissions.cache import catch_up
from permissions.engine.types import Request
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ALICE = ("user:alice", "post:read", None)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The realms whose head was asked for, once memory of `default` had become too old."""
    pdp.reset()
    apply(OFFICE)
    for _ in range(2):
        pdp.check(*ALICE)
    found: list[str] = []
    right = catch_up.catch_up

    def counted(realm: str) -> Any:
        found.append(realm)
        return right(realm)

    monkeypatch.setattr(catch_up, "catch_up", counted)
    catch_up.expire("default")
    assert pdp.is_stale("default")
    return found


WAYS = {
    "acheck": lambda: pdp.acheck(*ALICE),
    "adecide": lambda: pdp.adecide(Request(*ALICE)),
    "adecide_many": lambda: pdp.adecide_many([Request(*ALICE)]),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_hundred_questions_ask_for_the_head_once(asked: list[str], way: str) -> None:
    async def crowd() -> list[Any]:
        return await asyncio.gather(*(WAYS[way]() for _ in range(100)))

    answers = asyncio.run(crowd())
    assert all(answer[0] if isinstance(answer, list) else answer for answer in answers)
    assert asked == ["default"]


def test_all_of_them_hear_that_the_database_is_away(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def away(realm: str) -> Any:
        raise pdp.Unavailable("the database does not answer", retry_after_s=1.0)

    monkeypatch.setattr(catch_up, "catch_up", away)

    async def crowd() -> list[Any]:
        return await asyncio.gather(*(pdp.acheck(*ALICE) for _ in range(20)), return_exceptions=True)

    assert {type(answer) for answer in asyncio.run(crowd())} == {pdp.Unavailable}


def test_one_that_leaves_takes_nobody_with_it(asked: list[str]) -> None:
    async def crowd() -> Any:
        first = asyncio.ensure_future(pdp.acheck(*ALICE))
        second = asyncio.ensure_future(pdp.acheck(*ALICE))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(crowd())


def test_a_revoke_meanwhile_is_seen(asked: list[str]) -> None:
    apply("subjects: [{id: 'user:alice', locked: true}]")
    catch_up.expire("default")
    assert not asyncio.run(pdp.acheck(*ALICE))
