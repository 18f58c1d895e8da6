"""The fixed cast: alice administers, bob is in her team, charlie must be refused wherever someone can be."""

from __future__ import annotations

from dataclasses import dataclass

from permissions.bundle.specs import BindingSpec, MemberSpec, ResourceSpec, SubjectSpec, TeamSpec
from permissions.models import Realm
from permissions.services.bindings import binding_create
from permissions.services.resources import resource_create
from permissions.services.subjects import subject_create
from permissions.services.teams import team_create
from permissions.writing import SYSTEM, Actor


def person(name: str) -> Actor:
    """As the admin makes one of an account: `user:<name>`, who may do what that subject may."""
    return Actor("user", f"user:{name}", subject=f"user:{name}")


ALICE, BOB, CHARLIE = person("alice"), person("bob"), person("charlie")
TEAM = "team:eng"
CHANNEL = "channel:9"


@dataclass(frozen=True, slots=True)
class Cast:
    """Their realm. alice holds everything there, her team reads the channel, charlie is known and holds nothing."""

    realm: Realm
    alice: Actor = ALICE
    bob: Actor = BOB
    charlie: Actor = CHARLIE


def assemble(realm_name: str = "default") -> Cast:
    realm = Realm.objects.get(name=realm_name)
    for name in ("alice", "bob", "charlie"):
        subject_create(actor=SYSTEM, realm=realm, spec=SubjectSpec(f"user:{name}"))
    team_create(actor=SYSTEM, realm=realm, spec=TeamSpec(TEAM, members=(MemberSpec("user:alice"), MemberSpec("user:bob"))))
    resource_create(actor=SYSTEM, realm=realm, spec=ResourceSpec(CHANNEL))
    binding_create(actor=SYSTEM, realm=realm, spec=BindingSpec("user:alice", allow=("*", "permsite.*:*")))
    binding_create(actor=SYSTEM, realm=realm, spec=BindingSpec(TEAM, allow=("channel:read",), scope=CHANNEL))
    return Cast(realm)
