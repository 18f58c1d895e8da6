"""A condition bounds what it hangs on, for the author as for those the author gives it to."""

from __future__ import annotations

import pytest

from permissions.bundle.specs import BindingSpec, CodeSpec, RoleSpec
from permissions.errors import Escalation, Invalid
from permissions.services.bindings import binding_create, binding_update
from permissions.services.catalog import role_create
from permissions.writing import SYSTEM
from tests.permissions.acme import CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

MFA = "context.mfa == true"


def _bind(acme: Acme, **given: object) -> None:
    binding_create(actor=CHARLIE, realm=acme.realm, spec=BindingSpec("user:bob", **given))  # type: ignore[arg-type]


def test_what_is_held_under_a_condition_covers_only_the_same_condition(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:edit",), condition=MFA)
    _bind(acme, allow=("post:edit",), condition=MFA)
    for other in ("", "context.mfa == true || true", "context.mfa != false"):
        with pytest.raises(Escalation):
            _bind(acme, allow=("post:edit",), condition=other)


def test_it_refuses_to_take_a_condition_off_or_to_change_it(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:edit",), condition=MFA)
    for looser in ("", "true"):
        with pytest.raises(Escalation, match="'post:edit' in the realm to 'user:bob'"):
            binding_update(
                actor=CHARLIE,
                realm=acme.realm,
                binding_id=row.pk,
                spec=BindingSpec("user:bob", allow=("post:edit",), condition=looser),
            )
    row.refresh_from_db()
    assert row.condition == MFA


def test_putting_a_condition_on_needs_no_cover(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:edit",))
    spec = BindingSpec("user:bob", allow=("post:edit",), condition=MFA)
    binding_update(actor=CHARLIE, realm=acme.realm, binding_id=row.pk, spec=spec)
    assert not acme.may("user:bob", "post:edit")
    assert acme.may("user:bob", "post:edit", context={"mfa": True})


def test_putting_a_condition_on_a_deny_needs_cover(acme: Acme) -> None:
    row = acme.binding("user:bob", deny=("post:send",))
    spec = BindingSpec("user:bob", deny=("post:send",), condition=MFA)
    with pytest.raises(Escalation, match="no longer denying"):
        binding_update(actor=CHARLIE, realm=acme.realm, binding_id=row.pk, spec=spec)


def test_a_conditional_deny_of_the_author_counts_as_a_deny(acme: Acme) -> None:
    acme.binding("user:charlie", allow=("post:edit",))
    acme.binding("user:charlie", deny=("post:edit",), condition=MFA)
    with pytest.raises(Escalation):
        _bind(acme, allow=("post:edit",))


def test_the_condition_of_a_roles_line_and_of_its_binding_both_bound_it(acme: Acme) -> None:
    careful = RoleSpec("careful", permissions=(CodeSpec("post:edit", MFA),))
    role_create(actor=SYSTEM, realm=acme.realm, spec=careful)
    acme.binding("user:charlie", "careful", condition="context.day == 1")
    _bind(acme, role="careful", condition="context.day == 1")
    with pytest.raises(Escalation, match=r"if context.mfa == true"):
        _bind(acme, role="careful")


def test_a_condition_that_does_not_compile_is_refused_with_its_place(acme: Acme) -> None:
    with pytest.raises(Invalid) as refused:
        _bind(acme, allow=("post:read",), condition="nonsense ==")
    assert [problem.where for problem in refused.value.problems] == ["condition"]
