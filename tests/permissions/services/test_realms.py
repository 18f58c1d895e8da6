"""Use cases of realms."""

from __future__ import annotations

import pytest

from permissions.bundle.specs import RealmSpec
from permissions.errors import Conflict, Escalation, Forbidden, Invalid
from permissions.models import AuditEvent, Realm, Resource
from permissions.services.realms import realm_create, realm_delete, realm_update
from permissions.services.specs import spec_of
from permissions.writing import SYSTEM
from tests.permissions.acme import ALICE, CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

SPEC = RealmSpec("shop", "overlay", {"channel": {"combining": "deny_overrides"}}, "everyone", 0.1, 5.0, True)


def test_a_realm_is_stored_as_it_is_said(db: None) -> None:
    realm = realm_create(actor=SYSTEM, spec=SPEC)
    assert spec_of(Realm.objects.get(pk=realm.pk)) == SPEC
    event = AuditEvent.objects.get(realm_name="shop")
    assert (event.action, event.object_id) == ("realm.create", "shop")


def test_only_an_administrator_makes_one_and_once(acme: Acme) -> None:
    with pytest.raises(Forbidden):
        realm_create(actor=ALICE, spec=SPEC)
    with pytest.raises(Conflict, match="there is a realm 'acme' already"):
        realm_create(actor=SYSTEM, spec=RealmSpec("acme"))
    with pytest.raises(Invalid):
        realm_create(actor=SYSTEM, spec=RealmSpec(" x"))


@pytest.mark.parametrize("bad", [RealmSpec("acme", staleness_s=0.6), RealmSpec("acme", static_grace_s=-1.0)])
def test_bounds_are_kept(acme: Acme, bad: RealmSpec) -> None:
    with pytest.raises(Invalid) as refused:
        realm_update(actor=SYSTEM, realm=acme.realm, spec=bad)
    assert refused.value.problems[0].where in ("staleness_s", "static_grace_s")


def test_its_law_is_changed_only_by_who_may_escalate(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("permsite.realm:change",))
    realm_update(actor=CHARLIE, realm=acme.realm, spec=RealmSpec("acme", staleness_s=0.2))
    for law in (RealmSpec("acme", "overlay"), RealmSpec("acme", unknown_subjects="everyone")):
        with pytest.raises(Escalation, match=r"needs permsite.realm:escalate"):
            realm_update(actor=CHARLIE, realm=acme.realm, spec=law)
    realm_update(actor=ALICE, realm=acme.realm, spec=RealmSpec("acme", "overlay"))
    entry = acme.last()
    assert (entry.action, entry.after) == ("realm.change", {"name": "acme", "combining": "overlay"})


def test_it_keeps_its_name(acme: Acme) -> None:
    with pytest.raises(Conflict, match="cannot be renamed"):
        realm_update(actor=SYSTEM, realm=acme.realm, spec=RealmSpec("other"))


def test_it_goes_with_everything_but_its_history(acme: Acme) -> None:
    with pytest.raises(Forbidden):
        realm_delete(actor=CHARLIE, realm=acme.realm)
    realm_delete(actor=ALICE, realm=acme.realm)
    assert not Realm.objects.filter(name="acme").exists()
    assert not Resource.objects.exists()
    last = AuditEvent.objects.filter(realm_name="acme").order_by("-seq").first()
    assert last is not None
    assert (last.action, last.actor) == ("realm.delete", "user:alice")
