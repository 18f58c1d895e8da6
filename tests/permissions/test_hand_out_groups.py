"""An edit of a permission group, or of what a permission requires, never gives more than its author holds."""

from __future__ import annotations

import pytest

from permissions.bundle.specs import GroupSpec, PermissionSpec
from permissions.errors import Escalation
from permissions.services.catalog import group_update, permission_delete, permission_update
from tests.permissions.acme import CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.fixture
def reading(acme: Acme) -> Acme:
    """bob has the group reading through an inherited role."""
    acme.group("reading", "post:read")
    acme.role("reader", groups=("reading",))
    acme.role("member", inherits=("reader",))
    acme.binding("team:eng", "member")
    return acme


def test_it_refuses_a_line_its_author_lacks(reading: Acme) -> None:
    wider = GroupSpec("reading", permissions=("post:read", "post:edit"))
    with pytest.raises(Escalation, match="'post:edit' in the realm to 'team:eng'"):
        group_update(actor=CHARLIE, realm=reading.realm, name="reading", spec=wider)
    assert not reading.may("user:bob", "post:edit")


def test_it_allows_what_its_author_holds_and_whatever_narrows(reading: Acme) -> None:
    reading.binding("user:charlie", allow=("post:edit",))
    wider = GroupSpec("reading", permissions=("post:read", "post:edit"))
    group_update(actor=CHARLIE, realm=reading.realm, name="reading", spec=wider)
    assert reading.may("user:bob", "post:edit")
    group_update(actor=CHARLIE, realm=reading.realm, name="reading", spec=GroupSpec("books"))
    assert not reading.may("user:bob", "post:read")


def test_it_refuses_to_make_a_permission_require_less(reading: Acme) -> None:
    reading.permission("channel:post", requires=("channel:view", "channel:join"))
    for less in (("channel:view",), (), ("channel:view", "channel:other")):
        with pytest.raises(Escalation, match="making 'channel:post' require less"):
            permission_update(
                actor=CHARLIE, realm=reading.realm, code="channel:post", spec=PermissionSpec("channel:post", requires=less)
            )
    more = PermissionSpec("channel:post", requires=("channel:view", "channel:join", "channel:age"))
    permission_update(actor=CHARLIE, realm=reading.realm, code="channel:post", spec=more)


def test_it_refuses_to_make_what_others_require_require_less(reading: Acme) -> None:
    reading.permission("channel:view", requires=("channel:join",))
    reading.permission("channel:post", requires=("channel:view",))
    reading.binding("user:charlie", allow=("channel:view", "channel:join"))
    with pytest.raises(Escalation, match="does not hold 'channel:post'"):
        permission_update(actor=CHARLIE, realm=reading.realm, code="channel:view", spec=PermissionSpec("channel:view"))
    reading.binding("user:charlie", allow=("channel:post",))
    permission_update(actor=CHARLIE, realm=reading.realm, code="channel:view", spec=PermissionSpec("channel:view"))


def test_it_refuses_to_delete_a_permission_and_so_lose_what_it_requires(reading: Acme) -> None:
    reading.permission("channel:post", requires=("channel:view",))
    with pytest.raises(Escalation):
        permission_delete(actor=CHARLIE, realm=reading.realm, code="channel:post")
    reading.binding("user:charlie", allow=("channel:*",))
    permission_delete(actor=CHARLIE, realm=reading.realm, code="channel:post")
