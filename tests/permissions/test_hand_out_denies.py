"""Taking a deny away gives what it denied: it takes the same cover."""

from __future__ import annotations

import datetime as dt

import pytest

from permissions.bundle.specs import BindingSpec
from permissions.errors import Escalation
from permissions.models import RoleBinding
from permissions.services.bindings import binding_delete, binding_update
from tests.permissions.acme import ALICE, CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

SOON = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def denied(acme: Acme) -> tuple[Acme, RoleBinding]:
    return acme, acme.binding("user:charlie", deny=("post:send",), scope="server:7")


def test_it_refuses_to_delete_a_deny_of_what_its_author_lacks(denied: tuple[Acme, RoleBinding]) -> None:
    acme, row = denied
    with pytest.raises(Escalation) as refused:
        binding_delete(actor=CHARLIE, realm=acme.realm, binding_id=row.pk)
    assert refused.value.detail == (
        "'user:charlie' would hand out more than they hold: no longer denying 'post:send' at 'server:7' to 'user:charlie'"
    )
    assert RoleBinding.objects.filter(pk=row.pk).exists()


def test_holding_the_code_elsewhere_or_under_the_deny_itself_is_no_cover(denied: tuple[Acme, RoleBinding]) -> None:
    acme, row = denied
    acme.binding("user:charlie", allow=("post:send",))
    with pytest.raises(Escalation):
        binding_delete(actor=CHARLIE, realm=acme.realm, binding_id=row.pk)


def test_it_refuses_to_shrink_a_deny(denied: tuple[Acme, RoleBinding]) -> None:
    acme, row = denied
    for less in (
        BindingSpec("user:charlie", deny=("post:send:loud",), scope="server:7"),
        BindingSpec("user:charlie", deny=("post:send",), scope="channel:9"),
        BindingSpec("user:charlie", deny=("post:send",), scope="server:7", propagate=False),
        BindingSpec("user:charlie", deny=("post:send",), scope="server:7", valid_until=SOON),
        BindingSpec("user:bob", deny=("post:send",), scope="server:7"),
    ):
        with pytest.raises(Escalation, match="no longer denying"):
            binding_update(actor=CHARLIE, realm=acme.realm, binding_id=row.pk, spec=less)


def test_a_deny_may_grow(denied: tuple[Acme, RoleBinding]) -> None:
    acme, row = denied
    for more in (BindingSpec("user:charlie", deny=("post:*",), scope="server:7"), BindingSpec("user:charlie", deny=("post:*",))):
        binding_update(actor=CHARLIE, realm=acme.realm, binding_id=row.pk, spec=more)


def test_one_of_two_equal_denies_may_go(denied: tuple[Acme, RoleBinding]) -> None:
    acme, row = denied
    acme.binding("user:charlie", deny=("post:*",), scope="server:7")
    binding_delete(actor=CHARLIE, realm=acme.realm, binding_id=row.pk)


def test_who_holds_what_was_denied_may_take_the_deny_away(denied: tuple[Acme, RoleBinding]) -> None:
    acme, row = denied
    binding_delete(actor=ALICE, realm=acme.realm, binding_id=row.pk)
    acme.binding("user:charlie", allow=("post:send",))
    other = acme.binding("user:bob", deny=("post:send",), scope="server:7")
    binding_delete(actor=CHARLIE, realm=acme.realm, binding_id=other.pk)
