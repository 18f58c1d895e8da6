"""What only a committed write shows: its token. These tests share no world with others."""

from __future__ import annotations

import pytest

from permissions import revisions
from permissions.models import Realm, Subject
from tests.permissions.admin import world


@pytest.mark.django_db(transaction=True)
def test_the_token_of_a_write_goes_out_in_a_signed_cookie() -> None:
    world.build()
    alice = world.desk("alice")
    zed = Subject.objects.get(ref="user:zed").pk
    assert alice.fill("permissions_subject_change", zed, locked="on").status_code == 302
    text, _, _ = alice.client.cookies["permission_token"].value.partition(":")
    assert revisions.parse(text).rev == Realm.objects.get(name="default").rev
    # A tampered one is ignored, and one of a future that never was does not lock its owner out.
    for value in ("nonsense", alice.client.cookies["permission_token"].value + "x"):
        alice.client.cookies["permission_token"] = value
        assert alice.get("permissions_role_changelist").status_code == 200
