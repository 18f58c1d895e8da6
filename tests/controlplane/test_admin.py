"""The operators' screens: what they show, what their forms do, and who may."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from controlplane.models import ConfigRevision
from controlplane.services import config as service
from permissions.models import AuditEvent
from permissions.writing import SYSTEM
from tests.permissions.api.world import Cast

LIST = "/admin/controlplane/configrevision/"
ENTRY = f"{LIST}section/limiters/login/"
SWITCH = "/admin/control/maintenance/"
TURN = {"action": "turn", "change_reason": "as planned"}


@pytest.fixture
def desks(cast: Cast) -> dict[str, Client]:
    """Staff who work at these screens; charlie is staff and holds nothing."""
    from django.contrib.auth.models import User

    User.objects.update(is_staff=True)
    return {name: getattr(cast, name).client for name in ("alice", "bob", "charlie", "root")}


def change(values: dict[str, Any], section: str = "limiters") -> ConfigRevision:
    return service.section_change(actor=SYSTEM, section=section, values=values, reason="before").revision


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def test_the_list_shows_each_version_and_what_each_process_runs(desks: dict[str, Client]) -> None:
    change({"login": {"limit": 5}})
    page = text_of(desks["bob"].get(LIST))
    assert "before" in page
    assert "Which process runs which version" in page
    for name in ("Rate limits", "Circuit breakers", "Bulkheads", "Retries", "Pipelines", "Maintenance"):
        assert name in page


def test_an_empty_list_says_what_to_do(desks: dict[str, Client]) -> None:
    assert "Nothing was changed yet" in text_of(desks["bob"].get(LIST))


def test_every_parameter_of_a_section_has_its_field_and_help(desks: dict[str, Client]) -> None:
    from resilience.sections import BREAKERS

    page = text_of(desks["alice"].get(f"{LIST}section/breakers/billing/"))
    for param in BREAKERS.params:
        assert f'name="{param.name}"' in page
        assert param.help.replace("'", "&#x27;") in page


def test_a_form_makes_a_version_with_its_reason(desks: dict[str, Client]) -> None:
    sent = {"version": "0", "limit": "5", "period_s": "60", "shadow": "true", "burst": "", "change_reason": "guessing"}
    answer = desks["alice"].post(ENTRY, sent)
    assert answer.status_code == 302, text_of(answer)
    row = ConfigRevision.objects.get()
    assert row.sections == {"limiters": {"login": {"limit": 5, "period_s": 60.0, "shadow": True}}}
    assert (row.author, row.reason) == ("user:alice", "guessing")
    assert "limit = 5" in text_of(desks["alice"].get(f"{LIST}section/limiters/"))
    assert 'value="5"' in text_of(desks["alice"].get(ENTRY))


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"limit": "five"}, "must be a whole number, not a text"),
        ({"limit": "5.5"}, "must be a whole number, not a text"),
        ({"limit": "1_000"}, "must be a whole number, not a text"),
        ({"limit": "0"}, "must be 1 to 90000000, not 0"),
        ({"period_s": "nan"}, "must be a finite number, not nan"),
        ({"period_s": "1e999"}, "must be a finite number, not inf"),
        ({"limit": "9" * 30}, "is too large"),
        ({"algorithm": "leaky"}, "must be one of gcra"),
        ({"algorithm": "fixed_window", "burst": "3"}, "burst is only for gcra and token_bucket"),
        ({"shadow": "maybe"}, "must be true or false"),
    ],
)
def test_a_mistake_stands_at_its_field_and_changes_nothing(desks: dict[str, Client], sent: dict[str, str], told: str) -> None:
    page = text_of(desks["alice"].post(ENTRY, {"version": "0", **sent}))
    assert told in page
    assert not ConfigRevision.objects.exists()
    name, typed = next(iter(sent.items()))
    if name in ("limit", "period_s"):
        assert f'value="{typed}"' in page, "what was typed is still there"


def test_an_entry_is_removed_and_the_others_stay(desks: dict[str, Client]) -> None:
    change({"login": {"limit": 5}, "api": {"limit": 9}})
    assert desks["alice"].post(ENTRY, {"version": "1", "remove": "yes"}).status_code == 302
    assert service.active().sections == {"limiters": {"api": {"limit": 9}}}  # type: ignore[union-attr]


@pytest.mark.parametrize("version", ["0", "", "x", "-1", "9" * 30])
def test_a_form_that_was_overtaken_says_what_changed_and_writes_nothing(desks: dict[str, Client], version: str) -> None:
    change({"login": {"limit": 5}})
    page = text_of(desks["alice"].post(ENTRY, {"version": version, "limit": "7"}))
    assert "version 1 is in force" in page
    assert ConfigRevision.objects.count() == 1
    if version == "0":
        assert "limiters.login.limit: was not set, is 5" in page


def test_a_name_that_is_none_is_refused_and_a_good_one_opens_its_form(desks: dict[str, Client]) -> None:
    assert "A name is 1 to 100 letters" in text_of(desks["alice"].get(f"{LIST}section/limiters/?name=a+b"))
    answer = desks["alice"].get(f"{LIST}section/limiters/?name=login")
    assert (answer.status_code, answer["Location"]) == (302, ENTRY)
    for path in ("section/nothing/", "section/maintenance/", "section/limiters/a%20b/", "section/limiters/x%00/"):
        assert desks["alice"].get(LIST + path).status_code == 404, path


def test_a_version_shows_what_it_changed_and_goes_back(desks: dict[str, Client]) -> None:
    first = change({"login": {"limit": 5}})
    change({"login": {"limit": 1}})
    address = reverse("admin:controlplane_configrevision_change", args=[first.pk])
    page = text_of(desks["alice"].get(address))
    assert "limiters.login.limit" in page
    assert "Go back to this version" in page
    answer = desks["alice"].post(address, {"version": "2", "change_reason": "too strict"})
    assert answer.status_code == 302
    now = service.active()
    assert now is not None
    assert (now.version, now.sections, now.rolled_back_from) == (3, {"limiters": {"login": {"limit": 5}}}, 1)
    late = desks["alice"].post(address, {"version": "2"}, follow=True)
    assert "version 3 is in force, not 2" in text_of(late)
    assert ConfigRevision.objects.count() == 3


def test_the_switch_is_turned_on_and_ended(desks: dict[str, Client]) -> None:
    sent = {
        **TURN,
        "version": "0",
        "mode": "full",
        "reason": "moving",
        "until": "2099-12-31T04:00",
        "allow": "10.0.0.0/8\n\n192.0.2.1",
        "paths": "",
        "permissions": "",
    }
    assert desks["bob"].post(SWITCH, sent).status_code == 302
    values = service.values_of("maintenance", service.active())
    assert values == {
        "mode": "full",
        "reason": "moving",
        "until": 4_102_372_800.0,
        "allow": ["10.0.0.0/8", "192.0.2.1/32"],
    }
    page = text_of(desks["bob"].get(SWITCH))
    assert "everything is refused" in page
    assert "It ends by itself at 2099-12-31 04:00:00 UTC" in page
    assert desks["bob"].post(SWITCH, {"version": "1", "action": "end", "change_reason": "moved"}).status_code == 302
    assert "No maintenance" in text_of(desks["bob"].get(SWITCH))


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"mode": "full", "reason": ""}, "a reason is needed"),
        ({"mode": "full", "reason": "x", "until": "2001-01-01T00:00"}, "lies in the past"),
        ({"mode": "full", "reason": "x", "until": "soon"}, "must be a time such as"),
        ({"mode": "full", "reason": "x", "allow": "me"}, "must be an address or a network"),
        ({"mode": "half", "reason": "x"}, "must be one of off"),
        ({}, "is missing"),
    ],
)
def test_a_wrong_switching_is_told_and_switches_nothing(desks: dict[str, Client], sent: dict[str, str], told: str) -> None:
    assert told in text_of(desks["bob"].post(SWITCH, {"version": "0", **TURN, **sent}, follow=True))
    assert not ConfigRevision.objects.exists()


def test_who_may_not_is_refused_and_told_what_is_missing(desks: dict[str, Client]) -> None:
    row = change({"login": {"limit": 5}})
    version = reverse("admin:controlplane_configrevision_change", args=[row.pk])
    for path in (LIST, ENTRY, SWITCH, f"{LIST}section/limiters/", version):
        assert desks["charlie"].get(path).status_code == 403, path
        assert desks["charlie"].post(path, {"version": "1"}).status_code == 403, path
    page = text_of(desks["bob"].get(ENTRY))
    assert "This needs permsite.config:change on permsite.control:config." in page
    assert desks["bob"].post(ENTRY, {"version": "1", "limit": "1"}).status_code == 403
    assert desks["bob"].post(version, {"version": "1"}).status_code == 403
    assert ConfigRevision.objects.count() == 1


def test_who_may_only_turn_the_switch_is_led_to_it(desks: dict[str, Client]) -> None:
    from tests.worlds import apply

    apply(
        """
version: 1
realm: default
roles: [{name: switcher, permissions: ["permsite.control:view", "permsite.control:operate"]}]
bindings: [{subject: "user:charlie", role: switcher}]
"""
    )
    answer = desks["charlie"].get(LIST)
    assert (answer.status_code, answer["Location"]) == (302, SWITCH)
    assert desks["charlie"].post(SWITCH, {"version": "0", **TURN, "mode": "read_only", "reason": "x"}).status_code == 302
    assert service.values_of("maintenance", service.active())["mode"] == "read_only"
    assert desks["charlie"].get(f"{LIST}section/limiters/").status_code == 403


def test_without_a_decision_a_superuser_still_gets_to_the_switch(
    desks: dict[str, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    from permissions import pdp

    def unavailable(*args: Any, **kwargs: Any) -> Any:
        raise pdp.Unavailable("no database", 1.0)

    monkeypatch.setattr(pdp, "decide", unavailable)
    assert "No maintenance" in text_of(desks["root"].get(SWITCH))
    assert desks["root"].post(SWITCH, {"version": "0", **TURN, "mode": "full", "reason": "repair"}).status_code == 302
    assert service.values_of("maintenance", service.active())["mode"] == "full"
    entry = AuditEvent.objects.get(action="maintenance_on")
    assert (entry.actor, entry.actor_kind) == ("user:root", "administrator")
    assert desks["bob"].get(SWITCH).status_code == 403
    assert desks["bob"].post(SWITCH, {"version": "1", "action": "end", "change_reason": "x"}).status_code == 403


def test_the_old_address_of_the_switch_leads_to_its_page_and_turns_nothing(desks: dict[str, Client]) -> None:
    for answer in (
        desks["bob"].get(f"{LIST}maintenance/"),
        desks["bob"].post(f"{LIST}maintenance/", {"version": "0", "mode": "full", "reason": "x"}),
    ):
        assert (answer.status_code, answer["Location"]) == (302, SWITCH)
    assert not ConfigRevision.objects.exists()


def test_no_row_is_added_changed_or_removed_by_django_s_own_forms(desks: dict[str, Client]) -> None:
    row = change({})
    for path in (f"{LIST}add/", f"{LIST}{row.pk}/delete/"):
        assert desks["root"].get(path).status_code == 403
        assert desks["root"].post(path, {"post": "yes"}).status_code == 403
    assert desks["root"].get(f"{LIST}{row.pk}/history/").status_code == 302
    assert desks["root"].get(f"{LIST}999999/change/").status_code == 302
    assert desks["root"].get(f"{LIST}x/change/").status_code == 302
    assert ConfigRevision.objects.count() == 1


def test_the_overview_leads_there(desks: dict[str, Client]) -> None:
    assert LIST in text_of(desks["bob"].get("/admin/"))
    assert LIST not in text_of(desks["charlie"].get("/admin/"))
