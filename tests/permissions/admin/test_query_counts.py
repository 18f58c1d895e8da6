"""The number of statements of a list does not grow with its rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from permissions.models import Realm
from permissions.services.bundles import bundle_apply
from tests.permissions.admin.world import Desk, desk
from tests.worlds import read

LISTS = ("permission", "permissiongroup", "role", "subject", "team", "resource", "rolebinding", "apikey", "auditevent", "realm")


def _count(here: Desk, noun: str, query: str = "") -> int:
    with CaptureQueriesContext(connection) as seen:
        assert here.get(f"permissions_{noun}_changelist", query=query).status_code == 200
    return len(seen)


def _more(count: int) -> None:
    lines = ["version: 1", "realm: default", "permissions:"]
    lines += [f'  - {{code: "thing:{n}"}}' for n in range(count)]
    lines += ["groups:"] + [f'  - {{name: group{n}, permissions: ["thing:{n}"]}}' for n in range(count)]
    lines += ["roles:"] + [f"  - {{name: role{n}, groups: [group{n}]}}" for n in range(count)]
    lines += ["teams:"] + [f'  - {{id: "team:{n}", members: ["user:{n}"]}}' for n in range(count)]
    lines += ["resources:"] + [f'  - {{id: "node:{n}", parent: "server:7"}}' for n in range(count)]
    lines += ["bindings:"] + [f'  - {{subject: "team:{n}", role: role{n}, scope: "node:{n}"}}' for n in range(count)]
    from permissions.writing import SYSTEM

    bundle_apply(actor=SYSTEM, bundle=read("\n".join(lines), name="more.yaml"))


@pytest.mark.parametrize("who", ["root", "alice"])
def test_lists_ask_the_same_number_of_questions_however_long_they_are(cast: None, who: str) -> None:
    here = desk(who)
    before = {noun: _count(here, noun) for noun in LISTS}
    _more(40)
    after = {noun: _count(here, noun) for noun in LISTS}
    # One part of a list may take one statement more (a second level of the tree, a page that is now full).
    assert {noun: after[noun] - before[noun] for noun in LISTS if after[noun] > before[noun] + 2} == {}


def test_pages_about_an_object_stay_bounded(alice: Desk, key_of: Any) -> None:
    from permissions.models import Role, Subject

    _more(40)
    for url, key in (
        ("permissions_role_effective", key_of(Role, name="editor")),
        ("permissions_role_bindings", key_of(Role, name="reader")),
        ("permissions_subject_bindings", key_of(Subject, ref="user:zed")),
        ("permissions_realm_revisions", key_of(Realm, name="default")),
    ):
        with CaptureQueriesContext(connection) as seen:
            assert alice.get(url, key).status_code == 200
        # Some of them ask, in the operators' realm, which pages the navigation shows.
        assert len(seen) <= 95, (url, len(seen))
