"""Attacks that the platform withstood from the first; kept, so that it goes on doing so."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from django.test import Client

from permissions.bundle.specs import BindingSpec, SubjectSpec, TeamSpec
from permissions.errors import Escalation, LastAdministrator
from permissions.services.bindings import binding_create, binding_update
from permissions.services.keys import key_create
from permissions.services.subjects import subject_delete, subject_update
from permissions.services.teams import team_delete, team_update
from permissions.writing import SYSTEM
from tests.permissions.acme import ALICE, CHARLIE, Acme, person

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ALL = ("*", "permsite.*:*")
LATER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


def _api(method: str, path: str, body: object = None, **headers: str) -> Any:
    client: Any = Client()
    return client.generic(method, path, json.dumps(body).encode(), content_type="application/json", **headers)


def test_the_last_administrator_cannot_weaken_their_own_binding_in_any_way(acme: Acme) -> None:
    acme.team("team:nobody")
    row = acme.realm.bindings.get(subject__ref="user:alice")
    for weaker in (
        BindingSpec("user:alice", allow=ALL, valid_until=LATER),
        BindingSpec("user:alice", allow=ALL, valid_from=LATER),
        BindingSpec("user:alice", allow=ALL, condition="true"),
        BindingSpec("user:alice", allow=ALL, scope="server:7"),
        BindingSpec("user:alice", allow=ALL, deny=("permsite.binding:create",)),
        BindingSpec("user:alice", allow=("*",)),
        BindingSpec("team:nobody", allow=ALL),
        BindingSpec("user:*", allow=ALL),
    ):
        with pytest.raises(LastAdministrator):
            binding_update(actor=ALICE, realm=acme.realm, binding_id=row.pk, spec=weaker)


def test_nobody_denies_the_last_administrator_even_under_a_condition_that_never_holds(acme: Acme) -> None:
    givens: tuple[dict[str, Any], ...] = ({"deny": ("permsite.*:*",)}, {"deny": ("permsite.r?alm:change",), "condition": "false"})
    for given in givens:
        with pytest.raises(LastAdministrator):
            binding_create(actor=CHARLIE, realm=acme.realm, spec=BindingSpec("user:*", **given))
    with pytest.raises(LastAdministrator):
        subject_update(actor=CHARLIE, realm=acme.realm, ref="user:alice", spec=SubjectSpec("user:alice", locked=True))


@pytest.mark.parametrize(
    "pattern", ["permsite.*:*", "permsite.r*:*", "permsite.?ealm:*", "permsite.binding*:*", "permsite.**:create"]
)
def test_everything_and_one_noun_of_the_platform_cover_no_pattern_around_it(acme: Acme, pattern: str) -> None:
    acme.binding("user:dave", allow=("*", "permsite.binding:*"))
    with pytest.raises(Escalation):
        binding_create(actor=person("dave"), realm=acme.realm, spec=BindingSpec("user:dave", allow=(pattern,)))


def test_a_team_that_is_denied_something_keeps_its_members_whichever_way_they_would_leave(acme: Acme) -> None:
    acme.team("team:barred", "service:y")
    acme.binding("team:barred", deny=("post:send",))
    with pytest.raises(Escalation):
        subject_delete(actor=CHARLIE, realm=acme.realm, ref="service:y")
    with pytest.raises(Escalation):
        team_delete(actor=CHARLIE, realm=acme.realm, ref="team:barred")
    with pytest.raises(Escalation):
        team_update(actor=CHARLIE, realm=acme.realm, ref="team:barred", spec=TeamSpec("team:barred"))


def test_the_key_of_a_locked_subject_manages_nothing(acme: Acme) -> None:
    _, plain = key_create(actor=SYSTEM, realm=acme.realm, name="k", subject="user:charlie")
    header = {"HTTP_AUTHORIZATION": f"Bearer {plain}"}
    assert _api("POST", "/api/v1/roles/", {"name": "mine"}, **header).status_code == 201
    subject_update(actor=SYSTEM, realm=acme.realm, ref="user:charlie", spec=SubjectSpec("user:charlie", locked=True))
    assert _api("POST", "/api/v1/roles/", {"name": "other"}, **header).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/check/",
        "/api//v1/check",
        "/api/v1/check%2F",
        "/API/v1/check",
        "/access/v1/evaluation/",
        "//access/v1/evaluation",
        "/access/v1/Evaluation",
    ],
)
def test_a_path_that_is_almost_one_of_ours_decides_nothing(db: None, path: str) -> None:
    assert _api("POST", path, {"subject": "user:a", "permission": "a:b"}).status_code in (403, 404)


def test_thirty_thousand_parameters_are_refused(db: None) -> None:
    query = "&".join(f"a{n}=1" for n in range(30_000))
    assert _api("GET", f"/api/v1/roles/?{query}").status_code in (400, 401)


def test_another_host_is_refused(db: None) -> None:
    assert _api("POST", "/api/v1/check", {}, HTTP_HOST="evil.example").status_code == 400
