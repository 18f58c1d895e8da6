"""The documentation and the code name the same things, both ways."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from permissions.authzen import metadata
from permissions.engine import reasons
from resilience import telemetry

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])


def first_column(page: Path) -> list[str]:
    return [line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("| `") or line.startswith("| [`")]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_reason_has_its_page_and_every_page_its_reason() -> None:
    assert {page.stem for page in (REFERENCE / "reasons").glob("*.md")} == reasons.ALL
    listed = {name for cell in first_column(REFERENCE / "reasons.md") for name in quoted(cell)}
    assert listed == reasons.ALL


def test_every_setting_is_documented_and_every_documented_setting_is_read() -> None:
    source = "\n".join(
        path.read_text(errors="replace")
        for place in ("permsite/env.py", "permsite/settings.py", "permsite/launcher.py", "tests/settings.py", "tests/servers.py")
        for path in [ROOT / place]
    )
    source += (
        "\n".join(p.read_text() for p in (ROOT / "tests" / "browser").glob("*.py")) + (ROOT / "scripts/need-chromium").read_text()
    )
    documented = {name for cell in first_column(REFERENCE / "settings.md") for name in quoted(cell)}
    read = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', (ROOT / "permsite/settings.py").read_text()))
    read |= set(re.findall(r'environ\.get\("([A-Z_]+)"', (ROOT / "permsite/launcher.py").read_text()))
    assert read - documented == set(), "read, but not in docs/reference/settings.md"
    assert {name for name in documented if name not in source} == set(), "documented, but nothing reads it"


@pytest.mark.parametrize(("page", "table"), [("events.md", telemetry.EVENTS), ("metrics.md", telemetry.METRICS)])
def test_every_event_and_metric_is_documented_and_nothing_else(page: str, table: dict[str, object]) -> None:
    assert {name for cell in first_column(REFERENCE / page) for name in quoted(cell)} == set(table)


def test_every_mechanism_of_the_kit_has_its_page() -> None:
    wanted = {"rate_limiter", "circuit_breaker", "bulkhead", "lock", "retry", "timeout", "fallback", "pipeline", "maintenance"}
    wanted |= {"storage", "redis", "registry", "live_configuration", "protection"}
    assert wanted <= {page.stem for page in (DOCS / "subsystems").glob("*.md")}


def test_every_command_is_documented_and_every_documented_command_exists() -> None:
    exist = {
        path.stem
        for app in ("permsite", "controlplane", "permissions")
        for path in (ROOT / app / "management" / "commands").glob("*.py")
        if path.stem != "__init__"
    }
    documented = {quoted(cell)[0].split()[0] for cell in first_column(REFERENCE / "commands.md")}
    assert documented == exist


def routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    for pattern in resolver.url_patterns:
        here = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if here != "admin/":
                yield from routes(pattern, here)
        elif isinstance(pattern, URLPattern):
            yield "/" + here


def test_every_endpoint_is_documented_and_every_documented_endpoint_answers() -> None:
    documented = {path.split()[-1] for cell in first_column(REFERENCE / "endpoints.md") for path in quoted(cell) if "/" in path}
    django = {
        re.sub(r"<\w+:", "<", route) for route in routes(get_resolver()) if not re.search(r"[\^$(\\]", route) and route != "/"
    }
    exist = django | {metadata.EVALUATION, metadata.EVALUATIONS, metadata.WELL_KNOWN, metadata.KEY_SET, "/admin/"}
    exist |= {metadata.SEARCH_SUBJECT, metadata.SEARCH_RESOURCE, metadata.SEARCH_ACTION}
    assert exist - documented == set(), "exists, but is not in docs/reference/endpoints.md"
    assert documented - exist == set(), "documented, but no route answers it"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.relative_to(ROOT)} links to {target}"
        if anchor and found.suffix == ".md":
            headings = {
                re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-")
                for h in re.findall(r"^#+ (.+)$", found.read_text(), re.M)
            }
            assert anchor in headings, f"{page.relative_to(ROOT)} links to {target}"


def test_the_glossary_says_each_word_of_the_law_once() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (DOCS / "glossary.md").read_text(), re.M)
    assert len(words) == len(set(words))
    assert {
        "Realm",
        "Subject",
        "Team",
        "Resource",
        "Action",
        "Context",
        "Permission",
        "PermissionGroup",
        "Role",
        "RoleBinding",
        "Scope",
        "Grant",
        "Condition",
        "Decision",
        "Reason",
        "Revision",
    } <= set(words)


def test_every_direct_dependency_has_its_line() -> None:
    text = (DOCS / "dependencies.md").read_text().lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["demo"], *project["dependency-groups"]["dev"]]
    names = {match.group().lower() for line in wanted if (match := re.match(r"[A-Za-z][\w.-]+", line))}
    assert {name for name in names if name not in text} == set()
