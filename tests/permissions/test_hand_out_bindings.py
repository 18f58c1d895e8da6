"""A binding never gives more than its author holds at its scope."""

from __future__ import annotations

import datetime as dt

import pytest

from permissions.bundle.specs import BindingSpec, MemberSpec, RealmSpec
from permissions.errors import Escalation, Forbidden
from permissions.models import RoleBinding
from permissions.services.bindings import binding_create, binding_delete, binding_update
from permissions.services.realms import realm_update
from permissions.services.specs import binding_spec
from permissions.services.teams import member_add
from permissions.writing import SYSTEM
from tests.permissions.acme import ALICE, BOB, CHARLIE, Acme, person

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

SOON = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
LATER = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)


def _bind(acme: Acme, actor: object, subject: str = "user:bob", **given: object) -> RoleBinding:
    return binding_create(actor=actor, realm=acme.realm, spec=BindingSpec(subject, **given))  # type: ignore[arg-type]


def test_it_refuses_a_binding_wider_than_its_author(acme: Acme) -> None:
    before = RoleBinding.objects.count()
    with pytest.raises(Escalation) as refused:
        _bind(acme, CHARLIE, allow=("post:edit",))
    assert refused.value.detail == ("'user:charlie' would hand out more than they hold: 'post:edit' in the realm to 'user:bob'")
    assert RoleBinding.objects.count() == before
    assert not acme.may("user:bob", "post:edit")


def test_it_allows_what_its_author_holds(acme: Acme) -> None:
    _bind(acme, CHARLIE, allow=("post:read",), scope="channel:9")
    assert acme.may("user:bob", "post:read", "channel:9")


def test_it_refuses_to_give_oneself_more(acme: Acme) -> None:
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, "user:charlie", allow=("*",))
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, "user:charlie", allow=("permsite.realm:escalate",))


def test_it_refuses_a_role_wider_than_its_author(acme: Acme) -> None:
    acme.role("editor", "post:read", "post:edit")
    with pytest.raises(Escalation, match="'post:edit' in the realm to 'user:bob'"):
        _bind(acme, CHARLIE, role="editor")


def test_who_holds_every_registered_code_may_not_hand_out_the_pattern(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:edit", "post:purge"))
    with pytest.raises(Escalation, match=r"'post:\*'"):
        _bind(acme, CHARLIE, allow=("post:*",))


def test_a_pattern_covers_a_narrower_pattern(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:*",))
    _bind(acme, CHARLIE, allow=("post:ed*", "post:edit:own"))


def test_everything_does_not_cover_the_platforms_own_codes(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("*",))
    _bind(acme, CHARLIE, allow=("anything:at:all",))
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("permsite.realm:change",))


def test_it_refuses_where_the_author_lacks_the_managing_permission(acme: Acme) -> None:
    with pytest.raises(Forbidden, match=r"'user:bob' does not hold permsite.binding:create in the realm"):
        _bind(acme, BOB, allow=("post:read",))


def test_the_managing_permission_is_asked_at_the_bindings_scope(acme: Acme) -> None:
    acme.binding("user:dave", allow=("permsite.binding:*", "post:read"), scope="server:7")
    _bind(acme, person("dave"), allow=("post:read",), scope="channel:9")
    with pytest.raises(Forbidden, match="at 'server:8'"):
        _bind(acme, person("dave"), allow=("post:read",), scope="server:8")
    with pytest.raises(Forbidden, match="in the realm"):
        _bind(acme, person("dave"), allow=("post:read",))


def test_what_is_held_at_one_node_covers_nothing_beside_it(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:edit",), scope="server:7")
    _bind(acme, CHARLIE, allow=("post:edit",), scope="channel:9")
    with pytest.raises(Escalation, match="at 'server:8'"):
        _bind(acme, CHARLIE, allow=("post:edit",), scope="server:8")


def test_a_private_node_stops_what_is_held_above_it(acme: Acme) -> None:
    acme.resource("channel:private", parent="server:7", inherit=False)
    acme.binding("user:charlie", allow=("post:edit",), scope="server:7")
    acme.binding("user:charlie", allow=("permsite.binding:create",), scope="channel:private")
    with pytest.raises(Escalation, match="at 'channel:private'"):
        _bind(acme, CHARLIE, allow=("post:edit",), scope="channel:private")


def test_what_is_held_without_propagation_covers_only_that(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:edit",), scope="server:7", propagate=False)
    _bind(acme, CHARLIE, allow=("post:edit",), scope="server:7", propagate=False)
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:edit",), scope="server:7")
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:edit",), scope="channel:9")


def test_what_is_held_until_an_end_covers_no_longer_end(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:edit",), valid_until=SOON)
    _bind(acme, CHARLIE, allow=("post:edit",), valid_until=SOON)
    with pytest.raises(Escalation, match="with an end"):
        _bind(acme, CHARLIE, allow=("post:edit",), valid_until=LATER)
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:edit",))


def test_what_was_held_or_will_be_covers_nothing(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:edit",), valid_until=dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
    acme.binding("user:charlie", allow=("post:edit",), valid_from=SOON)
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:edit",), valid_from=SOON)


def test_a_membership_that_ends_bounds_what_the_team_gives_its_author(acme: Acme) -> None:
    acme.binding("team:eng", allow=("post:edit",))
    member_add(actor=SYSTEM, realm=acme.realm, team="team:eng", spec=MemberSpec("user:charlie", valid_until=SOON))
    _bind(acme, CHARLIE, "user:eve", allow=("post:edit",), valid_until=SOON)
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, "user:eve", allow=("post:edit",))


def test_an_author_who_is_denied_a_code_does_not_hold_it(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:*",))
    acme.binding("user:charlie", deny=("post:purge",), scope="channel:9")
    _bind(acme, CHARLIE, allow=("post:edit",))
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:purge",), scope="channel:9")
    with pytest.raises(Escalation):  # what is given above reaches the channel too
        _bind(acme, CHARLIE, allow=("post:*",), scope="server:7")


def test_an_excluded_code_is_not_covered_by_the_pattern_around_it(acme: Acme) -> None:
    acme.role("almost", "post:*", exclude=("post:purge",))
    acme.binding("user:charlie", "almost")
    _bind(acme, CHARLIE, role="almost")
    _bind(acme, CHARLIE, allow=("post:edit",))
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:purge",))
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:*",))


def test_a_code_is_covered_only_with_what_it_requires(acme: Acme) -> None:
    acme.permission("channel:post", requires=("channel:view",))
    acme.binding("user:charlie", allow=("channel:post",))
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("channel:post",))
    acme.binding("user:charlie", allow=("channel:view",))
    _bind(acme, CHARLIE, allow=("channel:post",))


def test_who_may_escalate_at_a_scope_may_hand_out_anything_there(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("permsite.realm:escalate",), scope="server:7")
    _bind(acme, CHARLIE, allow=("post:purge",), scope="channel:9")
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:purge",), scope="server:8")


def test_a_conditional_right_to_escalate_counts_where_its_condition_holds(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("permsite.realm:escalate",), scope="server:7", condition="resource.type == 'channel'")
    _bind(acme, CHARLIE, allow=("post:purge",), scope="channel:9")
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:purge",), scope="server:7")


def test_widening_a_binding_needs_cover(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:edit",), scope="channel:9", propagate=False, valid_until=SOON)
    narrow = binding_spec(row)
    for wider in (
        BindingSpec(narrow.subject, allow=("post:edit", "post:purge"), scope="channel:9", propagate=False, valid_until=SOON),
        BindingSpec(narrow.subject, allow=narrow.allow, scope="channel:9", valid_until=SOON),
        BindingSpec(narrow.subject, allow=narrow.allow, scope="channel:9", propagate=False, valid_until=LATER),
        BindingSpec(narrow.subject, allow=narrow.allow, scope="server:7", propagate=False, valid_until=SOON),
        BindingSpec("user:charlie", allow=narrow.allow, scope="channel:9", propagate=False, valid_until=SOON),
    ):
        with pytest.raises(Escalation):
            binding_update(actor=CHARLIE, realm=acme.realm, binding_id=row.pk, spec=wider)
    row.refresh_from_db()
    assert binding_spec(row) == narrow


def test_narrowing_or_explaining_a_binding_needs_no_cover(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:edit", "post:purge"), scope="server:7")
    for narrower in (
        BindingSpec("user:bob", allow=("post:edit", "post:purge"), scope="server:7", reason="asked for by alice"),
        BindingSpec("user:bob", allow=("post:edit",), scope="server:7", valid_until=LATER),
        BindingSpec("user:bob", allow=("post:edit",), scope="channel:9", valid_until=SOON, condition="context.mfa == true"),
    ):
        binding_update(actor=CHARLIE, realm=acme.realm, binding_id=row.pk, spec=narrower)
    binding_delete(actor=CHARLIE, realm=acme.realm, binding_id=row.pk)
    assert not RoleBinding.objects.filter(pk=row.pk).exists()


def test_a_deny_may_be_written_without_holding_the_code(acme: Acme) -> None:
    _bind(acme, CHARLIE, deny=("post:purge",))
    assert not acme.may("user:bob", "post:purge")


def test_in_an_overlay_realm_an_allow_below_overrides_a_deny_above(acme: Acme) -> None:
    realm_update(actor=SYSTEM, realm=acme.realm, spec=RealmSpec("acme", combining="overlay"))
    acme.binding("user:*", deny=("post:send",))
    acme.binding("user:charlie", allow=("post:send",), scope="server:7")
    _bind(acme, CHARLIE, allow=("post:send",), scope="channel:9")
    acme.binding("user:charlie", deny=("post:send",), scope="channel:9")
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:send",), scope="channel:9")


def test_an_administrator_of_the_realm_may_hand_out_what_they_hold(acme: Acme) -> None:
    _bind(acme, ALICE, allow=("*", "permsite.*:*"))
    assert acme.may("user:bob", "permsite.realm:change")


def test_an_inactive_author_may_nothing(acme: Acme) -> None:
    acme.subject("user:zoe", active=False)
    acme.binding("user:zoe", allow=("*", "permsite.*:*"))
    with pytest.raises(Forbidden):
        _bind(acme, person("zoe"), allow=("post:read",))


def test_a_second_binding_like_one_that_stays_needs_cover(acme: Acme) -> None:
    """It gives nothing today, and outlives the revoke of the first."""
    acme.binding("user:bob", allow=("post:edit",))
    with pytest.raises(Escalation):
        _bind(acme, CHARLIE, allow=("post:edit",))
