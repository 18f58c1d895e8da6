"""No write closes a circle of roles, teams, resources or requirements; the refusal names the circle."""

from __future__ import annotations

import pytest

from permissions.bundle.specs import Bundle, MemberSpec, PermissionSpec, RealmSpec, ResourceSpec, RoleSpec, TeamSpec
from permissions.errors import Conflict, Refused
from permissions.models import Resource
from permissions.services.bundles import bundle_apply
from permissions.services.catalog import permission_update, role_update
from permissions.services.resources import resource_update
from permissions.services.teams import member_add, team_update
from permissions.writing import SYSTEM
from tests.permissions.acme import Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def test_roles_cannot_inherit_in_a_circle(acme: Acme) -> None:
    acme.role("a")
    acme.role("b", inherits=("a",))
    acme.role("c", inherits=("b",))
    with pytest.raises(Conflict) as refused:
        role_update(actor=SYSTEM, realm=acme.realm, name="a", spec=RoleSpec("a", inherits=("c",)))
    assert refused.value.detail == "roles inherit in a circle: 'a' → 'c' → 'b' → 'a'"


def test_a_role_cannot_inherit_from_itself(acme: Acme) -> None:
    acme.role("a")
    with pytest.raises(Refused, match="itself"):
        role_update(actor=SYSTEM, realm=acme.realm, name="a", spec=RoleSpec("a", inherits=("a",)))


def test_teams_cannot_hold_one_another(acme: Acme) -> None:
    acme.team("team:c")
    acme.team("team:b", "team:c")
    acme.team("team:a", "team:b")
    with pytest.raises(Conflict, match="teams belong to one another in a circle"):
        member_add(actor=SYSTEM, realm=acme.realm, team="team:c", spec=MemberSpec("team:a"))
    with pytest.raises(Conflict, match="'team:a'"):
        spec = TeamSpec("team:c", members=(MemberSpec("team:a"),))
        team_update(actor=SYSTEM, realm=acme.realm, ref="team:c", spec=spec)
    with pytest.raises(Refused, match="its own member"):
        member_add(actor=SYSTEM, realm=acme.realm, team="team:c", spec=MemberSpec("team:c"))


def test_a_resource_cannot_lie_below_itself(acme: Acme) -> None:
    with pytest.raises(Conflict) as refused:
        spec = ResourceSpec("server:7", parent="channel:9")
        resource_update(actor=SYSTEM, realm=acme.realm, ref="server:7", spec=spec)
    assert refused.value.detail == "resources lie below one another in a circle: 'server:7' → 'channel:9' → 'server:7'"
    assert Resource.objects.get(ref="server:7").parent is None


def test_permissions_cannot_require_one_another(acme: Acme) -> None:
    acme.permission("a:one")
    acme.permission("a:two", requires=("a:one",))
    with pytest.raises(Conflict, match="permissions require one another in a circle: 'a:one' → 'a:two' → 'a:one'"):
        spec = PermissionSpec("a:one", requires=("a:two",))
        permission_update(actor=SYSTEM, realm=acme.realm, code="a:one", spec=spec)


def test_a_bundle_cannot_close_a_circle_with_what_is_there(acme: Acme) -> None:
    acme.role("a")
    acme.role("b", inherits=("a",))
    bundle = Bundle(RealmSpec("acme"), roles=(RoleSpec("a", inherits=("b",)),))
    with pytest.raises(Conflict, match="circle"):
        bundle_apply(actor=SYSTEM, bundle=bundle)
