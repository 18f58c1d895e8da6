"""Use cases of API keys; what they may act with is judged in `test_hand_out_keys.py`."""

from __future__ import annotations

import datetime as dt

import pytest

from permissions.engine.keys import digest_of
from permissions.errors import Conflict, Invalid, NotFound
from permissions.models import ApiKey
from permissions.services.keys import key_create, key_revoke
from permissions.writing import SYSTEM
from tests.permissions.acme import Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def test_only_the_digest_is_stored_and_only_the_prefix_is_told(acme: Acme) -> None:
    row, plain = key_create(actor=SYSTEM, realm=acme.realm, name="ci", subject="user:bob", asserted="override")
    assert row.digest == digest_of(plain)
    told = str([(event.before, event.after) for event in acme.audited()])
    assert row.prefix in told
    assert row.digest not in told
    assert plain.removeprefix(f"ps_{row.prefix}_") not in told
    assert acme.last().after == {"name": "ci", "prefix": row.prefix, "asserted": "override", "subject": "user:bob"}


def test_a_key_is_revoked_once_and_its_name_is_free_again(acme: Acme) -> None:
    row, _ = key_create(actor=SYSTEM, realm=acme.realm, name="ci")
    with pytest.raises(Conflict, match="revoke it first"):
        key_create(actor=SYSTEM, realm=acme.realm, name="ci")
    assert key_revoke(actor=SYSTEM, realm=acme.realm, key_id=row.pk).revoked_at is not None
    assert acme.last().action == "key.revoke"
    with pytest.raises(Conflict, match="was revoked already"):
        key_revoke(actor=SYSTEM, realm=acme.realm, key_id=row.pk)
    key_create(actor=SYSTEM, realm=acme.realm, name="ci")
    with pytest.raises(NotFound):
        key_revoke(actor=SYSTEM, realm=acme.realm, key_id=0)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"name": ""}, "name"),
        ({"name": "x", "subject": "user:bob", "is_admin": True}, "subject"),
        ({"name": "x", "subject": "bob"}, "subject"),
        ({"name": "x", "asserted": "always"}, "asserted"),
        ({"name": "x", "valid_until": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "valid_until"),
        ({"name": "x", "valid_until": dt.datetime(2100, 1, 1)}, "valid_until"),  # noqa: DTZ001 - what is refused
    ],
)
def test_a_bad_key_is_refused_with_its_place(acme: Acme, given: dict[str, object], where: str) -> None:
    with pytest.raises(Invalid) as refused:
        key_create(actor=SYSTEM, realm=acme.realm, **given)  # type: ignore[arg-type]
    assert where in [problem.where for problem in refused.value.problems]
    assert not ApiKey.objects.exists()


def test_it_acts_as_somebody_the_realm_knows(acme: Acme) -> None:
    acme.binding("user:*", allow=("post:read",))
    for subject in ("user:never-seen", "robot:1"):
        with pytest.raises(NotFound):
            key_create(actor=SYSTEM, realm=acme.realm, name="x", subject=subject)
