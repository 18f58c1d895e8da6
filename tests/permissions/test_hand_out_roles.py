"""An edit of a role, or of what it inherits, never gives those who have it more than its author holds."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from permissions.bundle.specs import BindingSpec, CodeSpec, RoleSpec
from permissions.errors import Escalation
from permissions.models import Role
from permissions.services.bindings import binding_create
from permissions.services.catalog import role_create, role_delete, role_update
from permissions.services.specs import spec_of
from tests.permissions.acme import CHARLIE, Acme

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


def _lines(*patterns: str) -> tuple[CodeSpec, ...]:
    return tuple(map(CodeSpec, patterns))


def _change(acme: Acme, role: str, **given: Any) -> Role:
    before = spec_of(Role.objects.get(realm=acme.realm, name=role))
    return role_update(actor=CHARLIE, realm=acme.realm, name=role, spec=replace(before, **given))


@pytest.fixture
def reader(acme: Acme) -> Acme:
    """bob has the role reader on server 7, charlie may not edit posts."""
    acme.role("reader", "post:read")
    acme.role("admin", "*")
    acme.binding("user:bob", "reader", scope="server:7")
    return acme


def test_it_refuses_a_line_its_author_lacks(reader: Acme) -> None:
    with pytest.raises(Escalation) as refused:
        _change(reader, "reader", permissions=_lines("post:read", "post:edit"))
    assert refused.value.detail == ("'user:charlie' would hand out more than they hold: 'post:edit' at 'server:7' to 'user:bob'")
    assert not reader.may("user:bob", "post:edit", "channel:9")


def test_it_allows_a_line_its_author_holds_where_the_role_is_bound(reader: Acme) -> None:
    reader.binding("user:charlie", allow=("post:edit",), scope="server:7")
    _change(reader, "reader", permissions=_lines("post:read", "post:edit"))
    assert reader.may("user:bob", "post:edit", "channel:9")
    reader.binding("user:eve", "reader", scope="server:8")
    with pytest.raises(Escalation, match="at 'server:8' to 'user:eve'"):
        _change(reader, "reader", permissions=_lines("post:read", "post:edit:own"))


def test_it_refuses_an_inherited_role_its_author_lacks(reader: Acme) -> None:
    with pytest.raises(Escalation, match=r"'\*' at 'server:7' to 'user:bob'"):
        _change(reader, "reader", inherits=("admin",))


def test_it_refuses_what_reaches_a_bound_role_through_one_it_inherits(reader: Acme) -> None:
    reader.role("base")
    _change(reader, "reader", inherits=("base",))
    with pytest.raises(Escalation, match="to 'user:bob'"):
        _change(reader, "base", permissions=_lines("post:edit"))
    with pytest.raises(Escalation, match="to 'user:bob'"):
        _change(reader, "base", inherits=("admin",))


def test_it_refuses_a_group_its_author_lacks(reader: Acme) -> None:
    reader.group("writing", "post:edit")
    with pytest.raises(Escalation, match="'post:edit'"):
        _change(reader, "reader", groups=("writing",))


def test_it_refuses_to_take_away_an_exclusion(reader: Acme) -> None:
    reader.role("almost", "post:*", exclude=("post:purge",))
    reader.binding("user:bob", "almost")
    reader.binding("user:charlie", "almost")
    with pytest.raises(Escalation, match=r"'post:\*'"):
        _change(reader, "almost", exclude=())
    _change(reader, "almost", exclude=("post:purge", "post:edit"))


def test_it_refuses_to_take_away_a_deny(reader: Acme) -> None:
    reader.role("muted", deny=_lines("post:send"))
    reader.binding("user:bob", "muted")
    with pytest.raises(Escalation, match="no longer denying 'post:send' in the realm to 'user:bob'"):
        _change(reader, "muted", deny=())
    with pytest.raises(Escalation, match="no longer denying"):
        _change(reader, "muted", deny=(CodeSpec("post:send", "context.night == true"),))
    reader.binding("user:charlie", allow=("post:send",))
    _change(reader, "muted", deny=())


def test_a_wider_deny_takes_nothing_away(reader: Acme) -> None:
    reader.role("muted", deny=_lines("post:send"))
    reader.binding("user:bob", "muted")
    _change(reader, "muted", deny=_lines("post:*"))


def test_it_refuses_to_loosen_the_condition_of_a_line(reader: Acme) -> None:
    reader.role("careful", "post:read")
    reader.binding("user:bob", "careful")
    reader.binding("user:charlie", allow=("post:edit",), condition="context.mfa == true")
    mfa, any_time = CodeSpec("post:edit", "context.mfa == true"), CodeSpec("post:edit")
    _change(reader, "careful", permissions=(mfa,))
    with pytest.raises(Escalation, match="'post:edit' in the realm to 'user:bob'"):
        _change(reader, "careful", permissions=(any_time,))


def test_it_refuses_to_prolong_a_role(reader: Acme) -> None:
    soon, later = dt.datetime(2100, 1, 1, tzinfo=dt.UTC), dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
    reader.role("project", "post:edit", valid_until=soon)
    reader.binding("user:bob", "project")
    with pytest.raises(Escalation):
        _change(reader, "project", valid_until=later)
    _change(reader, "project", valid_until=dt.datetime(2090, 1, 1, tzinfo=dt.UTC))


def test_renaming_describing_and_narrowing_a_role_need_no_cover(reader: Acme) -> None:
    reader.role("editor", "post:edit", "post:purge")
    reader.binding("user:bob", "editor")
    _change(reader, "editor", title="Editor", permissions=_lines("post:edit"))
    _change(reader, "editor", name="writer")
    assert reader.may("user:bob", "post:edit")


def test_a_role_nobody_has_may_say_anything_but_may_not_be_handed_out(reader: Acme) -> None:
    role_create(actor=CHARLIE, realm=reader.realm, spec=RoleSpec("everything", permissions=_lines("*")))
    with pytest.raises(Escalation):
        binding_create(actor=CHARLIE, realm=reader.realm, spec=BindingSpec("user:charlie", role="everything"))
    role_delete(actor=CHARLIE, realm=reader.realm, name="everything")
