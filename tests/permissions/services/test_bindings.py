"""Use cases of bindings: what is stored, registered and audited, and what is refused."""

from __future__ import annotations

import datetime as dt

import pytest

from permissions.bundle.specs import BindingSpec
from permissions.errors import Forbidden, Invalid, NotFound
from permissions.models import Permission, Resource, RoleBinding, Subject
from permissions.services.bindings import binding_create, binding_delete, binding_update
from permissions.services.specs import spec_of
from permissions.writing import SYSTEM, Actor
from tests.permissions.acme import Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

WHOLE = BindingSpec(
    "user:new",
    allow=("page:view", "page:*"),
    deny=("page:drop",),
    scope="book:1",
    condition="context.mfa == true",
    valid_from=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    valid_until=dt.datetime(9999, 12, 31, tzinfo=dt.UTC),
    propagate=False,
    reason="because",
    obligations=({"id": "log", "type": "audit", "properties": {"level": 3}},),
)


def test_everything_a_line_says_is_stored(acme: Acme) -> None:
    row = binding_create(actor=SYSTEM, realm=acme.realm, spec=WHOLE)
    assert spec_of(RoleBinding.objects.get(pk=row.pk)) == WHOLE
    assert row.granted_by == "system"


def test_what_it_names_comes_into_being(acme: Acme) -> None:
    binding_create(actor=SYSTEM, realm=acme.realm, spec=WHOLE)
    assert set(Permission.objects.filter(realm=acme.realm, code__startswith="page").values_list("code", flat=True)) == {
        "page:view",
        "page:drop",
    }
    assert Subject.objects.get(realm=acme.realm, ref="user:new").kind == "subject"
    assert Resource.objects.get(realm=acme.realm, ref="book:1").parent is None
    acme.binding("robot:*", allow=("page:view",))
    assert Subject.objects.get(realm=acme.realm, ref="robot:*").kind == "everyone"


def test_it_is_audited_with_before_and_after(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:read",))
    created = acme.last()
    assert (created.action, created.object_type, created.object_id) == ("binding.create", "binding", str(row.pk))
    assert (created.before, created.after) == (None, {"subject": "user:bob", "allow": ["post:read"]})
    spec = BindingSpec("user:bob", allow=("post:read",), reason="asked for")
    binding_update(actor=SYSTEM, realm=acme.realm, binding_id=row.pk, spec=spec, reason="ticket 5")
    changed = acme.last()
    assert (changed.action, changed.before, changed.reason) == ("binding.change", created.after, "ticket 5")
    assert changed.after == {"subject": "user:bob", "allow": ["post:read"], "reason": "asked for"}
    binding_delete(actor=SYSTEM, realm=acme.realm, binding_id=row.pk)
    deleted = acme.last()
    assert (deleted.action, deleted.before, deleted.after) == ("binding.delete", changed.after, None)


def test_an_update_that_changes_nothing_is_no_event(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:read",))
    entries = len(acme.audited())
    binding_update(actor=SYSTEM, realm=acme.realm, binding_id=row.pk, spec=BindingSpec("user:bob", allow=("post:read",)))
    assert len(acme.audited()) == entries


def test_equal_bindings_stay_separate(acme: Acme) -> None:
    one, other = acme.binding("user:bob", allow=("post:read",)), acme.binding("user:bob", allow=("post:read",))
    assert one.pk != other.pk
    binding_delete(actor=SYSTEM, realm=acme.realm, binding_id=one.pk)
    assert acme.may("user:bob", "post:read")


def test_a_revoke_that_finds_nothing_is_not_found(acme: Acme) -> None:
    row = acme.binding("user:bob", allow=("post:read",))
    binding_delete(actor=SYSTEM, realm=acme.realm, binding_id=row.pk)
    with pytest.raises(NotFound, match=f"there is no binding {row.pk} in realm 'acme'"):
        binding_delete(actor=SYSTEM, realm=acme.realm, binding_id=row.pk)


@pytest.mark.parametrize(
    ("spec", "where", "message"),
    [
        (BindingSpec("user:bob", role="nobody"), "role", "there is no role 'nobody'"),
        (BindingSpec("user:bob"), "", "names neither a role nor permissions"),
        (BindingSpec("user:bob", role="editor", allow=("post:read",)), "", "split it into two bindings"),
        (BindingSpec("bob", allow=("post:read",)), "subject", "must be written type:id"),
        (BindingSpec("user:bob", allow=("post",)), "allow[0]", "must be written"),
        (BindingSpec("user:bob", deny=("post:a", "post:a")), "deny[1]", "named twice"),
        (BindingSpec("user:bob", allow=("permsite.bindings:create",)), "allow[0]", "no code of the platform"),
        (BindingSpec("user:bob", allow=("post:a",), scope="server:*"), "scope", "'\\*'"),
        (BindingSpec("user:bob", allow=("post:a",), condition="nonsense"), "condition", "nonsense"),
        (BindingSpec("user:bob", allow=("post:a",), condition="1 == 1 " + " " * 1024), "condition", "1024"),
        (BindingSpec("user:bob", allow=("post:a",), obligations=({"id": ""},)), "obligations", "text"),
        (
            BindingSpec("user:bob", allow=("post:a",), valid_from=dt.datetime(2030, 1, 1)),  # noqa: DTZ001 - what is refused
            "valid_from",
            "time zone",
        ),
        (
            BindingSpec(
                "user:bob",
                allow=("post:a",),
                valid_from=dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
                valid_until=dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
            ),
            "valid_until",
            "earlier",
        ),
    ],
)
def test_a_bad_line_is_refused_with_its_place_and_changes_nothing(
    acme: Acme, spec: BindingSpec, where: str, message: str
) -> None:
    acme.role("editor", "post:edit")
    entries = len(acme.audited())
    with pytest.raises(Invalid, match=message) as refused:
        binding_create(actor=SYSTEM, realm=acme.realm, spec=spec)
    assert where in [problem.where for problem in refused.value.problems]
    assert len(acme.audited()) == entries


def test_an_actor_without_a_subject_may_nothing(acme: Acme) -> None:
    """Such as an API key that may only ask."""
    asks_only = Actor("key", "key:checkout")
    with pytest.raises(Forbidden, match="acts as nobody"):
        binding_create(actor=asks_only, realm=acme.realm, spec=BindingSpec("user:bob", allow=("post:read",)))
