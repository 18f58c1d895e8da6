"""An API key never acts with more than its author holds."""

from __future__ import annotations

import pytest

from permissions.errors import Escalation, Forbidden
from permissions.models import ApiKey
from permissions.services.keys import key_create
from tests.permissions.acme import ALICE, BOB, CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def test_it_refuses_a_key_that_acts_as_someone_who_holds_more(acme: Acme) -> None:
    with pytest.raises(Escalation, match="a key that acts as 'user:alice': 'user:charlie' would hand out more than they hold"):
        key_create(actor=CHARLIE, realm=acme.realm, name="mine", subject="user:alice")
    acme.binding("team:eng", allow=("post:edit",))
    with pytest.raises(Escalation, match="'post:edit'"):
        key_create(actor=CHARLIE, realm=acme.realm, name="mine", subject="user:bob")
    assert not ApiKey.objects.exists()


def test_it_refuses_a_key_that_acts_as_someone_asleep_who_holds_more(acme: Acme) -> None:
    acme.subject("user:zoe", active=False)
    acme.binding("user:zoe", allow=("post:edit",))
    with pytest.raises(Escalation, match="'post:edit'"):
        key_create(actor=CHARLIE, realm=acme.realm, name="mine", subject="user:zoe")


def test_it_refuses_a_key_that_acts_as_an_administrator_or_overrides(acme: Acme) -> None:
    with pytest.raises(Escalation, match=r"acts as an administrator needs permsite.realm:escalate"):
        key_create(actor=CHARLIE, realm=acme.realm, name="mine", is_admin=True)
    with pytest.raises(Escalation, match="overrides"):
        key_create(actor=CHARLIE, realm=acme.realm, name="mine", asserted="override")


def test_it_refuses_without_the_managing_permission(acme: Acme) -> None:
    with pytest.raises(Forbidden):
        key_create(actor=BOB, realm=acme.realm, name="mine", subject="user:bob")


def test_it_allows_a_key_that_acts_as_its_author_or_as_one_who_holds_less(acme: Acme) -> None:
    acme.binding("service:ci", allow=("post:read",), scope="server:7")
    for name, subject in (("own", "user:charlie"), ("ci", "service:ci"), ("asks", None)):
        row, plain = key_create(actor=CHARLIE, realm=acme.realm, name=name, subject=subject)
        assert plain.startswith(f"ps_{row.prefix}_")
        assert row.created_by == "user:charlie"


def test_who_may_escalate_may_make_any_key(acme: Acme) -> None:
    for name, given in (("a", {"is_admin": True}), ("b", {"asserted": "override"}), ("c", {"subject": "user:charlie"})):
        key_create(actor=ALICE, realm=acme.realm, name=name, **given)
