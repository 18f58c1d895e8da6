"""Whatever is written, a realm that had an administrator keeps one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from permissions.bundle.reader import read
from permissions.bundle.specs import BindingSpec, CodeSpec, GroupSpec, MemberSpec, RealmSpec, RoleSpec, SubjectSpec, TeamSpec
from permissions.errors import LastAdministrator
from permissions.models import RoleBinding
from permissions.services.administrators import administrators
from permissions.services.bindings import binding_create, binding_delete, binding_update
from permissions.services.bundles import bundle_apply
from permissions.services.catalog import group_update, role_update
from permissions.services.realms import realm_delete, realm_update
from permissions.services.specs import spec_of
from permissions.services.subjects import subject_delete, subject_update
from permissions.services.teams import member_add, member_remove, team_delete, team_update
from permissions.writing import SYSTEM, Actor
from tests.permissions.acme import ALICE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ADMIN = ("permsite.*:*",)
SOON = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def only_alice(db: None) -> tuple[Acme, RoleBinding]:
    acme = Acme()
    return acme, acme.binding("user:alice", allow=("*", *ADMIN))


@pytest.fixture
def by_team(db: None) -> Acme:
    """alice administers through group, inherited role and team: each of them can lock her out."""
    acme = Acme()
    acme.group("managing", *ADMIN)
    acme.role("manager", groups=("managing",))
    acme.role("admin", inherits=("manager",))
    acme.team("team:board", "user:alice")
    acme.binding("team:board", "admin")
    return acme


@pytest.mark.parametrize("actor", [ALICE, SYSTEM])
def test_the_last_one_cannot_revoke_themselves(only_alice: tuple[Acme, RoleBinding], actor: Actor) -> None:
    acme, row = only_alice
    with pytest.raises(LastAdministrator, match="'user:alice' is the last administrator of realm 'acme'"):
        binding_delete(actor=actor, realm=acme.realm, binding_id=row.pk)
    assert acme.may("user:alice", "permsite.realm:change")


@pytest.mark.parametrize(
    "spec",
    [
        BindingSpec("user:bob", allow=("post:read",)),
        BindingSpec("user:alice", allow=("permsite.realm:*",)),
        BindingSpec("user:alice", allow=ADMIN, condition="context.mfa == true"),
        BindingSpec("user:alice", allow=ADMIN, valid_until=SOON),
        BindingSpec("user:alice", allow=ADMIN, valid_from=SOON),
        BindingSpec("user:alice", allow=ADMIN, scope="server:7"),
        BindingSpec("user:*", allow=ADMIN),
        BindingSpec("user:alice", allow=ADMIN, deny=("permsite.binding:*",)),
    ],
)
def test_no_change_of_the_last_binding_takes_it_away(only_alice: tuple[Acme, RoleBinding], spec: BindingSpec) -> None:
    acme, row = only_alice
    with pytest.raises(LastAdministrator):
        binding_update(actor=SYSTEM, realm=acme.realm, binding_id=row.pk, spec=spec)


def test_nor_does_a_deny(only_alice: tuple[Acme, RoleBinding]) -> None:
    acme, _ = only_alice
    for holder in ("user:alice", "user:*"):
        with pytest.raises(LastAdministrator):
            binding_create(actor=ALICE, realm=acme.realm, spec=BindingSpec(holder, deny=("permsite.realm:change",)))


def test_nor_does_a_role_that_denies_through_what_it_inherits(only_alice: tuple[Acme, RoleBinding]) -> None:
    acme, _ = only_alice
    acme.role("nobody manages", deny=(CodeSpec("permsite.*:*"),))
    acme.role("harmless", inherits=("nobody manages",))
    with pytest.raises(LastAdministrator):
        binding_create(actor=SYSTEM, realm=acme.realm, spec=BindingSpec("user:alice", role="harmless"))


@pytest.mark.parametrize("spec", [SubjectSpec("user:alice", active=False), SubjectSpec("user:alice", locked=True)])
def test_nor_does_putting_the_last_one_to_sleep(only_alice: tuple[Acme, RoleBinding], spec: SubjectSpec) -> None:
    acme, _ = only_alice
    with pytest.raises(LastAdministrator):
        subject_update(actor=SYSTEM, realm=acme.realm, ref="user:alice", spec=spec)
    with pytest.raises(LastAdministrator):
        subject_delete(actor=SYSTEM, realm=acme.realm, ref="user:alice")


WRITES: dict[str, Callable[[Acme], object]] = {
    "the member goes": lambda a: member_remove(actor=SYSTEM, realm=a.realm, team="team:board", member="user:alice"),
    "the membership ends": lambda a: member_add(
        actor=SYSTEM, realm=a.realm, team="team:board", spec=MemberSpec("user:alice", valid_until=SOON)
    ),
    "the team is emptied": lambda a: team_update(actor=SYSTEM, realm=a.realm, ref="team:board", spec=TeamSpec("team:board")),
    "the team goes": lambda a: team_delete(actor=SYSTEM, realm=a.realm, ref="team:board"),
    "the role inherits nothing": lambda a: role_update(actor=SYSTEM, realm=a.realm, name="admin", spec=RoleSpec("admin")),
    "the inherited role loses its group": lambda a: role_update(
        actor=SYSTEM, realm=a.realm, name="manager", spec=RoleSpec("manager")
    ),
    "the role excludes": lambda a: role_update(
        actor=SYSTEM,
        realm=a.realm,
        name="admin",
        spec=RoleSpec("admin", inherits=("manager",), exclude=("permsite.binding:create",)),
    ),
    "the role denies": lambda a: role_update(
        actor=SYSTEM,
        realm=a.realm,
        name="admin",
        spec=RoleSpec("admin", inherits=("manager",), deny=(CodeSpec("permsite.realm:*"),)),
    ),
    "the role ends": lambda a: role_update(
        actor=SYSTEM, realm=a.realm, name="admin", spec=RoleSpec("admin", inherits=("manager",), valid_until=SOON)
    ),
    "the group is emptied": lambda a: group_update(actor=SYSTEM, realm=a.realm, name="managing", spec=GroupSpec("managing")),
    "a bundle prunes": lambda a: bundle_apply(
        actor=SYSTEM, bundle=read("version: 1\nrealm: acme\nbindings: []\n", name="b.yaml"), prune=True
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_no_way_around_leads_to_a_realm_without_one(by_team: Acme, write: Callable[[Acme], object]) -> None:
    assert list(administrators(by_team.realm)) == ["user:alice"]
    with pytest.raises(LastAdministrator):
        write(by_team)
    assert list(administrators(by_team.realm)) == ["user:alice"]


def test_with_a_second_one_the_first_may_go(by_team: Acme) -> None:
    by_team.binding("user:bob", "admin")
    member_remove(actor=ALICE, realm=by_team.realm, team="team:board", member="user:alice")
    assert list(administrators(by_team.realm)) == ["user:bob"]


def test_a_bundle_may_replace_the_only_one(only_alice: tuple[Acme, RoleBinding]) -> None:
    acme, _ = only_alice
    text = 'version: 1\nrealm: acme\nbindings:\n  - {subject: "user:bob", allow: ["permsite.*:*"]}\n'
    bundle_apply(actor=SYSTEM, bundle=read(text, name="b.yaml"), prune=True)
    assert list(administrators(acme.realm)) == ["user:bob"]


def test_a_realm_without_one_is_free(db: None) -> None:
    acme = Acme()
    row = acme.binding("user:alice", allow=("post:read",))
    binding_delete(actor=SYSTEM, realm=acme.realm, binding_id=row.pk)


def test_a_realm_may_be_deleted_with_its_last_one(only_alice: tuple[Acme, RoleBinding]) -> None:
    acme, _ = only_alice
    realm_delete(actor=ALICE, realm=acme.realm)


def test_an_administrator_cannot_suspend_the_realm_they_are_in(only_alice: tuple[Acme, RoleBinding]) -> None:
    acme, _ = only_alice
    with pytest.raises(LastAdministrator, match="suspend it with apply"):
        realm_update(actor=ALICE, realm=acme.realm, spec=RealmSpec("acme", suspended=True))
    realm_update(actor=SYSTEM, realm=acme.realm, spec=RealmSpec("acme", suspended=True))
    assert not acme.may("user:alice", "permsite.realm:change")
    assert list(administrators(acme.realm)) == ["user:alice"]


def test_what_a_role_says_now_is_what_counts(by_team: Acme) -> None:
    before = spec_of(by_team.realm.roles.get(name="admin"))
    assert isinstance(before, RoleSpec)
    role_update(actor=ALICE, realm=by_team.realm, name="admin", spec=RoleSpec("boss", title="Boss", inherits=before.inherits))
    assert list(administrators(by_team.realm)) == ["user:alice"]
