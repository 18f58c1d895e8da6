"""Every page, in both themes, light and dark: nothing on the console, nothing against the policy, nothing serious for axe.

And nothing that scrolls sideways on a phone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import Visit
from tests.browser.pages import every_page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

# Django's and Unfold's own parts are judged as well: what axe finds there today is mended by `permissions/admin.js` and
# `admin.css`. There is no exception.
AXE = Axe()


# Words of ours that would have stayed English; names, ids and codes of the world are nobody's to translate.
ENGLISH = (
    "Role binding",
    "Permission",
    "Effective",
    "Check",
    "History",
    "Reason",
    "Add",
    "Save",
    "Filter",
    "Search",
    "Delete",
    "Select",
    "Version",
    "Maintenance",
)


# Each page in the default look, light and English; every second dark and Chinese; every fourth in the plain look. Thirds a
# test, so that no worker is left alone with the last one.
THIRDS = (0, 1, 2)


class Look(NamedTuple):
    theme: str
    dark: bool
    language: str
    step: int


LOOKS = {
    "unfold light": Look("unfold", False, "en-US", 1),
    "unfold dark and Chinese": Look("unfold", True, "zh-CN", 2),
    "plain light": Look("plain", False, "en-US", 4),
    "plain dark and Chinese": Look("plain", True, "zh-CN", 4),
}


@pytest.mark.parametrize("third", THIRDS)
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_every_page_is_quiet_and_accessible_in_its_language_and_no_wider_than_a_phone(
    visit: Callable[..., Visit], look: Look, third: int
) -> None:
    here = visit(look.theme, dark=look.dark, language=look.language)
    found = every_page(here)
    assert len(found) > 40
    pages = found[int(look.dark) % look.step :: look.step][third :: len(THIRDS)]
    said: dict[str, list[str]] = {}
    serious: dict[str, list[object]] = {}
    english: dict[str, list[str]] = {}
    wide: dict[str, int] = {}
    for page in pages:
        here.complaints.clear()
        here.go(page)
        if not look.dark and (pixels := here.sideways_on_a_phone()) > 0:
            wide[page] = pixels
        # Axe puts styles of its own into the page, against the policy: the console is judged before it comes.
        if here.complaints:
            said[page] = list(here.complaints)
        faults = [
            (violation["id"], [node["html"][:200] for node in violation["nodes"]])
            for violation in AXE.run(here.page).response["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        if faults:
            serious[page] = list(faults)
        if look.language == "zh-CN":
            text = here.text()
            if left := [word for word in ENGLISH if word in text]:
                english[page] = left
    assert said == {}
    assert serious == {}
    assert english == {}
    assert wide == {}


@pytest.mark.parametrize("theme", ["unfold", "plain"])
def test_the_chosen_language_is_kept_against_the_browsers_own(visit: Callable[..., Visit], theme: str) -> None:
    here = visit(theme, language="zh-CN")
    assert here.page.get_attribute("html", "lang") == "zh-hans"
    here.page.get_by_role("button", name="English").click()
    here.page.wait_for_load_state()
    here.go("/admin/permissions/role/")
    assert here.page.get_attribute("html", "lang") == "en"
