"""Random bundles that are right: for the round trip, and for what a difference must make of two of them."""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import Any

from hypothesis import strategies as st

from permissions.bundle.specs import (
    BindingSpec,
    Bundle,
    CodeSpec,
    GroupSpec,
    MemberSpec,
    PermissionSpec,
    RealmSpec,
    ResourceSpec,
    RoleSpec,
    SubjectSpec,
    TeamSpec,
)

# Words that YAML likes to take for something else, among the rest.
TRAPS = [
    "yes",
    "no",
    "null",
    "true",
    "~",
    "010",
    "1e3",
    "12:30",
    "2026-01-01",
    "=",
    "<<",
    "-",
    "- x",
    "# x",
    "x: y",
    "'",
    '"',
    "*a",
    "&a",
]


def _clean(text: str) -> bool:
    # Texts that count on characters beyond what names.py allows are the mistakes' business, not the round trip's.
    return text == text.strip() and unicodedata.is_normalized("NFC", text) and text.isprintable() and bool(text)


names = st.one_of(st.sampled_from(TRAPS), st.text(max_size=12).filter(_clean))
types = names.filter(lambda t: not set(t) & set(":*?")).map(lambda t: t[:20])
ids = names.filter(lambda t: t != "*")
refs = st.builds("{}:{}".format, types, ids).filter(_clean)
holders = st.one_of(refs, types.map("{}:*".format))
segments = names.filter(lambda t: not set(t) & set(":*?"))
codes = st.lists(segments, min_size=2, max_size=4).map(":".join).filter(lambda c: not c.startswith("permsite."))
patterns = st.one_of(codes, st.just("*"), segments.map("{}:*".format), segments.map("{}:g?t*".format))
free = st.one_of(st.just(""), names)
paragraphs = st.one_of(
    st.just(""), st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40), st.just("two\nlines\tand a tab")
)
instants = st.none() | st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC))  # noqa: DTZ001 - bounds of a strategy are naive
conditions = st.sampled_from(
    ["", "context.mfa == true", "resource.attributes.owner == subject.ref", "now > timestamp('2026-01-01T00:00:00Z')"]
)
keys = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [*TRAPS, "k" * 1500]
)
scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(TRAPS)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
)
jsons = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6)
attributes = st.dictionaries(keys, jsons, max_size=3)
obligations = st.lists(st.fixed_dictionaries({"id": names, "type": names}, optional={"properties": attributes}), max_size=2).map(
    tuple
)


def _set(items: st.SearchStrategy[Any], min_size: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, unique=True, max_size=3, min_size=min_size).map(tuple)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    start, end = draw(instants), draw(instants)
    if start is not None and end is not None:
        start, end = min(start, end), max(start, end) + dt.timedelta(microseconds=1)
    return {"valid_from": start, "valid_until": end}


lines = st.builds(CodeSpec, patterns, conditions)
permissions = st.builds(PermissionSpec, codes, free, paragraphs, free, st.just(()), st.booleans(), st.booleans())
groups = st.builds(GroupSpec, names, free, paragraphs, _set(patterns))
subjects = st.builds(SubjectSpec, refs, attributes, st.booleans(), st.booleans())
resources = st.builds(ResourceSpec, refs, st.none(), st.booleans(), attributes)


@st.composite
def roles(draw: st.DrawFn) -> RoleSpec:
    return RoleSpec(
        name=draw(names),
        title=draw(free),
        description=draw(paragraphs),
        groups=draw(_set(names)),
        permissions=draw(_set(lines)),
        exclude=draw(_set(patterns)),
        deny=draw(_set(lines)),
        obligations=draw(obligations),
        **draw(windows()),
    )


@st.composite
def teams(draw: st.DrawFn) -> TeamSpec:
    ref = draw(refs)
    members = draw(_set(refs.filter(lambda r: r != ref)))
    return TeamSpec(
        ref, tuple(MemberSpec(m, **draw(windows())) for m in members), draw(attributes), draw(st.booleans()), draw(st.booleans())
    )


@st.composite
def bindings(draw: st.DrawFn) -> BindingSpec:
    what: dict[str, Any] = (
        {"role": draw(names)}
        if draw(st.booleans())
        else {"allow": draw(_set(patterns, min_size=1)), "deny": draw(_set(patterns))}
    )
    return BindingSpec(
        subject=draw(holders),
        scope=draw(st.none() | refs),
        condition=draw(conditions),
        propagate=draw(st.booleans()),
        reason=draw(free),
        obligations=draw(obligations),
        **what,
        **draw(windows()),
    )


def _section(items: st.SearchStrategy[Any], key: str) -> st.SearchStrategy[tuple[Any, ...] | None]:
    return st.none() | st.lists(items, max_size=3, unique_by=lambda spec: getattr(spec, key)).map(tuple)


@st.composite
def bundles(draw: st.DrawFn) -> Bundle:
    team_lines = draw(_section(teams(), "id"))
    there = {team.id for team in team_lines or ()}
    # Teams that name one another may close a circle, which is a mistake; here none does.
    if team_lines is not None:
        team_lines = tuple(
            TeamSpec(t.id, tuple(m for m in t.members if m.id not in there), t.attributes, t.active, t.locked) for t in team_lines
        )
    realm = RealmSpec(
        draw(names),
        draw(st.sampled_from(["deny_overrides", "overlay"])),
        draw(st.dictionaries(types, st.sampled_from([{"combining": "overlay"}, {"combining": "deny_overrides"}]), max_size=2)),
        draw(st.sampled_from(["deny", "everyone"])),
        draw(st.floats(0, 0.5)),
        draw(st.floats(0, 60)),
        draw(st.booleans()),
    )
    return Bundle(
        realm,
        frozenset({"name", "combining", "resource_types", "unknown_subjects", "staleness_s", "static_grace_s", "suspended"}),
        permissions=draw(_section(permissions, "code")),
        groups=draw(_section(groups, "name")),
        roles=draw(_section(roles(), "name")),
        subjects=draw(_section(subjects.filter(lambda s: s.id not in there), "id")),
        teams=team_lines,
        resources=draw(_section(resources, "id")),
        bindings=draw(st.none() | st.lists(bindings(), max_size=3).map(tuple)),
    )
