"""Whoever loses the right loses the socket: at once where the change is heard of, within a minute where it is not."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone

from controlplane.sockets import watch
from controlplane.sockets.room import ROOM
from controlplane.sockets.watch import Ending, Watch
from permissions import pdp
from tests.controlplane.sockets.conftest import revoke, soon
from tests.worlds import apply

pytestmark = pytest.mark.django_db(transaction=True)

GONE = Ending(4403, "gone")


def test_a_revoke_closes_the_socket_at_once_and_no_other(site):
    alice, bob = site.watching("alice"), site.watching("bob")
    revoke("alice")
    assert alice.closed() == (4403, "the right to see this page is gone")
    site.frame()
    bob.wait_for("frame")
    assert site.refused("alice") == 403


def test_a_role_that_loses_the_permission_closes_all_who_had_it(site):
    pages = [site.watching("alice"), site.watching("bob")]
    apply("realm: default\nroles: [{name: watcher, permissions: ['permsite.config:view']}]")
    assert [page.closed()[0] for page in pages] == [4403, 4403]


def test_a_change_that_takes_nothing_away_closes_nobody(site):
    page = site.watching("alice")
    apply('realm: default\nbindings: [{subject: "user:alice", allow: ["permsite.config:view"]}]')
    apply('realm: default\nsubjects: [{id: "user:dora"}]')
    site.frame()
    page.wait_for("frame")


def test_news_from_another_process_are_heard_through_the_hub(site, monkeypatch):
    page = site.watching("alice")
    # As another process writes: this one hears nothing by itself.
    monkeypatch.setattr("permissions.cache.events.telemetry.emit", lambda *_args, **_more: None)
    revoke("alice")
    site.store.publish("rights", b'{"realm": "other", "subjects": null}')
    site.store.publish("rights", b'{"realm": "default", "subjects": ["user:bob"]}')
    site.frame()
    page.wait_for("frame")
    site.store.publish("rights", b'{"realm": "default", "subjects": ["user:alice"]}')
    assert page.closed()[0] == 4403


@pytest.mark.parametrize("message", [b"no JSON", b"[]", b'{"realm": 7, "subjects": 7}', b"{}"])
def test_news_that_nobody_understands_has_everybody_asked(site, monkeypatch, message):
    page = site.watching("alice")
    monkeypatch.setattr("permissions.cache.events.telemetry.emit", lambda *_args, **_more: None)
    revoke("alice")
    ROOM._news("rights", message)
    assert page.closed()[0] == 4403


@pytest.mark.parametrize("what", ["signed out", "run out", "deactivated", "no staff", "new password"])
def test_a_session_or_account_that_ends_ends_the_socket_at_the_next_asking(site, what):
    page = site.watching("alice")
    people = User.objects.filter(username="alice")
    if what == "signed out":
        Session.objects.all().delete()
    elif what == "run out":
        Session.objects.update(expire_date=timezone.now() - dt.timedelta(seconds=1))
    elif what == "deactivated":
        people.update(is_active=False)
    elif what == "no staff":
        people.update(is_staff=False)
    else:
        people.update(password="another")
    ROOM.rights_changed(None, None)
    assert page.closed() == (4401, "no session: sign in")


def test_without_any_news_the_minutes_asking_finds_it(site, monkeypatch):
    monkeypatch.setattr(watch, "ASK_S", 0.5)
    page = site.watching("alice")
    monkeypatch.setattr("permissions.cache.events.telemetry.emit", lambda *_args, **_more: None)
    revoke("alice")
    assert page.closed()[0] == 4403


def test_a_right_lost_while_the_socket_opens_is_found(site, monkeypatch):
    from controlplane import consumers

    asked = consumers.ControlConsumer._ask

    async def slowly(self):
        answer = await asked(self)
        if not hasattr(self, "_standing"):
            await asyncio.to_thread(_revoke_once)
        return answer

    done: list[bool] = []

    def _revoke_once() -> None:
        if not done:
            done.append(True)
            from django.db import connection

            revoke("alice")
            connection.close()

    monkeypatch.setattr(consumers.ControlConsumer, "_ask", slowly)
    assert site.open("alice").closed()[0] == 4403


def test_asking_again_waits_less_than_the_bound_and_not_the_same_for_all(monkeypatch):
    waited: list[float] = []

    class Stopped(Exception):
        pass

    def timeout(wait_s: float):
        waited.append(wait_s)
        raise Stopped

    monkeypatch.setattr(asyncio, "timeout", timeout)

    async def talk() -> None:
        async def ask() -> Ending | None:
            return None

        for _ in range(50):
            with pytest.raises(Stopped):
                await Watch(ask).ended()

    asyncio.run(talk())
    assert all(36 <= wait_s <= 54 for wait_s in waited) and len(set(waited)) > 40


def test_without_a_decision_the_socket_stays_for_a_while_and_then_goes():
    asked: list[int] = []

    async def talk() -> Ending:
        async def away() -> Ending | None:
            asked.append(1)
            raise pdp.Unavailable("away")

        return await Watch(away, ask_s=0.02, retry_s=0.02, max_unknown_s=0.2, min_s=0.0).ended()

    assert asyncio.run(talk()) == Ending(1011, "no decision can be given")
    assert len(asked) >= 2


def test_a_decision_in_between_begins_the_while_anew_and_a_fault_is_no_yes():
    answers = iter([pdp.Unavailable("away"), None, RuntimeError("a bug of ours"), None, GONE])

    async def talk() -> Ending:
        async def ask() -> Ending | None:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return await Watch(ask, ask_s=0.01, retry_s=0.01, max_unknown_s=10, min_s=0.0).ended()

    assert asyncio.run(talk()) == GONE


def test_news_that_comes_while_it_is_asked_is_asked_about_too():
    async def talk() -> Ending:
        asked: list[int] = []

        async def ask() -> Ending | None:
            asked.append(1)
            if len(asked) == 1:
                own.wake()
                return None
            return GONE

        own = Watch(ask, ask_s=3600, min_s=0.0)
        own.wake()
        return await asyncio.wait_for(own.ended(), 20)

    assert asyncio.run(talk()) == GONE


def test_a_place_is_given_back_when_the_socket_is_closed_by_either_side(site):
    page = site.watching("alice")
    assert ROOM.count() == 1
    page.connection.close()
    assert soon(lambda: ROOM.count() == 0)
    page = site.watching("alice")
    page.connection.socket.close()
    assert soon(lambda: ROOM.count() == 0)
