"""The configuration page: each value with its source and its author; forces; instances; the way to the forms; who may."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import Client

from controlplane.services import config as service
from permissions.writing import SYSTEM
from tests.controlplane.desk.conftest import CONTROL, text_of
from tests.permissions.api.world import Cast

pytestmark = pytest.mark.both_databases


def change(section: str, values: dict[str, Any], reason: str = "a test") -> None:
    service.section_change(actor=SYSTEM, section=section, values=values, reason=reason)


def params(cast: Cast, section: str, name: str = "") -> dict[str, Any]:
    sections = {one["name"]: one for one in cast.alice.get("system/snapshot/config").json["data"]["sections"]}
    entry = next(one for one in sections[section]["entries"] if one["name"] == name)
    return {"": entry, **{param["name"]: param for param in entry["params"]}}


def test_before_any_change_everything_has_its_source(cast: Cast) -> None:
    found = params(cast, "limiters", "login.user")
    assert (found["limit"]["value"], found["limit"]["source"]) == (6, "code")
    assert (found["shadow"]["value"], found["shadow"]["source"]) == (False, "default")
    assert params(cast, "cache")["invalidation"]["source"] == "default"


def test_a_live_value_names_who_set_it_and_in_which_version(cast: Cast) -> None:
    change("limiters", {"login.user": {"limit": 9, "period_s": 60.0}}, "a busy morning")
    change("cache", {"invalidation": "aggressive"})
    found = params(cast, "limiters", "login.user")
    assert (found["limit"]["value"], found["limit"]["source"]) == (9, "row")
    assert found["limit"]["changed"]["version"] == 1 and found["limit"]["changed"]["reason"] == "a busy morning"
    assert found["burst"]["changed"] is None
    assert params(cast, "cache")["invalidation"]["changed"]["version"] == 2


def test_a_force_is_shown_beside_what_it_holds(cast: Cast) -> None:
    later = time.time() + 600
    change("overrides", {"x": {"rule": "login.user", "key": "alice", "limit": 50, "until": later}})
    assert params(cast, "limiters", "login.user")[""]["forces"] == [{"what": "alice: 50", "until": pytest.approx(later, abs=1)}]
    assert params(cast, "limiters", "api")[""]["forces"] == []


def test_the_page_leads_into_the_forms_and_the_versions(desks: dict[str, Client]) -> None:
    change("limiters", {"login.user": {"limit": 9}})
    page = text_of(desks["bob"].get(f"{CONTROL}config/"))
    for address in (
        "/admin/controlplane/configrevision/section/limiters/login.user/",
        "/admin/controlplane/configrevision/section/cache/",
        "/admin/controlplane/configrevision/",
    ):
        assert f'href="{address}"' in page
        assert desks["bob"].get(address).status_code == 200
    assert "a test" in page


def test_each_process_is_told_with_its_version(desks: dict[str, Client]) -> None:
    change("cache", {"invalidation": "aggressive"})
    assert "Which process runs which version" in text_of(desks["bob"].get(f"{CONTROL}config/"))
    assert "<table" in text_of(desks["bob"].get(f"{CONTROL}config/?part=instances"))


def test_it_needs_the_configurations_own_right(desks: dict[str, Client], cast: Cast) -> None:
    assert desks["charlie"].get(f"{CONTROL}config/").status_code == 403
    assert cast.charlie.get("system/snapshot/config").status == 403
