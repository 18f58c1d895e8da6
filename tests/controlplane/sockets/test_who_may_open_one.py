"""A socket opens for a signed-in person with the right, from a page of this site, and for nobody else."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from permissions import pdp
from tests.controlplane.sockets.conftest import session_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_person_with_the_right_is_greeted_and_told_what_may_be_asked_for(site):
    hello = site.open("alice").next()
    assert hello["type"] == "hello" and hello["topics"] == ["events", "frame", "nodes"]
    assert hello["notice"]["mode"] == "off"


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null", None, "http://127.0.0.1:1", "https://127.0.0.1"])
def test_a_page_of_another_site_is_refused(site, origin):
    assert site.refused("alice", origin=origin) == 403


def test_a_trusted_origin_may_have_a_star(site, settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.example.com", "https://one.example.org"]
    for origin in ("https://a.example.com", "https://one.example.org"):
        assert site.open("alice", origin=origin).next()["type"] == "hello"
    for origin in ("https://example.com.evil.test", "https://evilexample.com", "http://a.example.com", "https://two.example.org"):
        assert site.refused("alice", origin=origin) == 403


def test_a_host_that_is_not_ours_makes_no_origin_ours(site, settings):
    settings.ALLOWED_HOSTS = ["other.test"]
    settings.CSRF_TRUSTED_ORIGINS = []
    assert site.refused("alice") == 403


def test_an_anonymous_caller_is_refused(site):
    assert site.refused() == 403
    assert site.refused(cookie="no-such-session") == 403


def test_a_person_without_the_right_is_refused(site):
    assert site.refused("charlie") == 403


def test_an_account_that_may_not_use_the_admin_is_refused(site):
    cookie = session_of("alice")
    User.objects.filter(username="alice").update(is_staff=False)
    assert site.refused(cookie=cookie) == 403


def test_a_deactivated_account_is_refused(site):
    cookie = session_of("alice")
    User.objects.filter(username="alice").update(is_active=False)
    assert site.refused(cookie=cookie) == 403


def test_a_session_that_has_run_out_is_refused(site):
    cookie = session_of("alice")
    Session.objects.update(expire_date=timezone.now() - dt.timedelta(seconds=1))
    assert site.refused(cookie=cookie) == 403


def test_a_session_that_was_signed_out_is_refused(site):
    client = Client()
    client.force_login(User.objects.create_user("alice", is_staff=True))
    cookie = client.cookies["sessionid"].value
    client.logout()
    assert site.refused(cookie=cookie) == 403


def test_a_session_of_before_the_password_was_changed_is_refused(site):
    cookie = session_of("alice")
    account = User.objects.get(username="alice")
    account.set_password("new")
    account.save()
    assert site.refused(cookie=cookie) == 403


def test_a_session_signed_by_an_old_key_is_good_and_stays_as_it_is(site, settings):
    cookie = session_of("alice")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another " * 10
    assert site.open(cookie=cookie).next()["type"] == "hello"
    assert Session.objects.filter(session_key=cookie).exists()


def test_the_right_asked_is_that_of_the_page_that_is_open(site):
    assert site.open("alice", path="/ws/control/?page=overview").next()["type"] == "hello"
    assert site.refused("alice", path="/ws/control/?page=no-such-page") == 403


def test_other_paths_are_refused(site):
    for path in ("/ws/", "/ws/control", "/ws/control/x/", "/admin/", "/access/v1/evaluation"):
        assert site.refused("alice", path=path) == 403


def test_while_no_decision_can_be_given_it_is_told_to_come_back(site, monkeypatch):
    def away(*_args, **_more):
        raise pdp.Unavailable("the database is away")

    monkeypatch.setattr(pdp, "decide", away)
    assert site.refused("alice") == 503


def test_a_superuser_watches_while_no_decision_can_be_given(site, monkeypatch):
    def away(*_args, **_more):
        raise pdp.Unavailable("the database is away")

    User.objects.create_superuser("root", password="x")
    monkeypatch.setattr(pdp, "decide", away)
    assert site.open("root").next()["type"] == "hello"
