"""Changes of the live configuration: each a new version, by compare-and-set, audited, announced after the commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from django.db.models import QuerySet

from controlplane.models import ConfigRevision
from controlplane.services.following import announce, make_follower
from controlplane.services.rights import CONFIG_CHANGE, CONFIG_PAGE, CONFIG_VIEW, control_realm, require
from permissions.errors import Conflict, Invalid, NotFound, Problem
from permissions.writing import Actor, Write, run_write
from resilience import config, config_sources, params, registry
from resilience.config import Snapshot
from resilience.errors import ConfigConflict, ConfigInvalid
from resilience.maintenance import SECTION as MAINTENANCE

__all__ = [
    "Change",
    "Changed",
    "Stale",
    "active",
    "as_rolled_back",
    "config_rollback",
    "difference",
    "editable",
    "epoch_renew",
    "history",
    "make_follower",
    "section_change",
    "section_problems",
    "values_of",
]

Sections = dict[str, dict[str, Any]]
MAX_REASON: Final = 1000
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One parameter that two versions hold differently; `before` or `after` is None where it is not set."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Changed:
    """`announced`: whether the other processes were told at once; None before the commit. Else they find it in the rows."""

    revision: ConfigRevision
    differences: tuple[Change, ...]
    announced: bool | None = None


class Stale(Conflict, ConfigConflict):
    """Another version is in force than the one that was looked at; `problems` says what has changed since."""

    def __init__(self, expected: int, actual: int, differences: tuple[Change, ...]) -> None:
        ConfigConflict.__init__(self, expected, actual)
        self.detail = f"version {actual} is in force, not {expected}: look at it again"
        self.problems = tuple(Problem(c.path, f"was {_shown(c.before)}, is {_shown(c.after)}") for c in differences)


def _shown(value: object) -> str:
    return "not set" if value is None else repr(value)


# Reading
def active() -> ConfigRevision | None:
    """The version in force; None while there is none, and the defaults hold."""
    return ConfigRevision.objects.filter(is_active=True).first()


def values_of(section: str, revision: ConfigRevision | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if revision is None else revision.sections.get(section, {})
    return found


def history(section: str | None = None) -> QuerySet[ConfigRevision]:
    """Newest first; of one section: the versions that may have changed it."""
    found = ConfigRevision.objects.order_by("-version")
    return found if section is None else found.filter(section__in=(section, ""))


def difference(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> tuple[Change, ...]:
    """Leaf by leaf, by path: `limiters.login.limit`."""
    found: list[Change] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        here = f"{path}.{name}" if path else name
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            # A name that came or went without parameters is a difference too.
            inner = difference(old if isinstance(old, Mapping) else {}, new if isinstance(new, Mapping) else {}, here)
            found.extend(inner or ([Change(here, _plain(old), _plain(new))] if _ABSENT in (old, new) else []))
        elif old != new:
            found.append(Change(here, _plain(old), _plain(new)))
    return tuple(found)


def _plain(value: object) -> Any:
    return None if value is _ABSENT else value


def as_rolled_back(now: ConfigRevision | None, then: ConfigRevision) -> Sections:
    """All of `then` but the switch: going back to old limits must not switch the site off, or on again."""
    kept = {} if now is None else {k: v for k, v in now.sections.items() if k == MAINTENANCE}
    return {**{k: v for k, v in then.sections.items() if k != MAINTENANCE}, **kept}


def section_problems(*, actor: Actor, section: str, values: object) -> tuple[list[Problem], tuple[Change, ...]]:
    """What is wrong with new values of a section, and what they would change. Changes nothing."""
    require(actor, CONFIG_VIEW, CONFIG_PAGE)
    known(section)
    now = active()
    wrong = [Problem(path, told) for path, told in params.problems(section, values)]
    if wrong:
        return wrong, ()
    typed = _typed(section, values)
    try:
        config.LIVE.check(_with(now, section, typed))
    except ConfigInvalid as error:
        return [Problem(error.path, error.problem)], ()
    return [], difference({section: values_of(section, now)}, {section: typed})


def editable() -> list[str]:
    return sorted(set(params.SECTIONS) - {MAINTENANCE})


def known(section: str) -> params.Section:
    """Raises NotFound; for the maintenance switch too: it has its own right, and its own page."""
    if section not in editable():
        raise NotFound(f"there is no section {params.shown(section)} here; known are {', '.join(editable())}")
    return params.SECTIONS[section]


def declared_names(section: str) -> list[str]:
    """What the code of this process declares in the section: names that a live value would reach."""
    return registry.names_in(section)


def _typed(section: str, values: object) -> dict[str, Any]:
    """As JSON keeps them: lists, no tuples. Raises Invalid with every mistake."""
    wrong = params.problems(section, values)
    if wrong:
        raise Invalid([Problem(path, told) for path, told in wrong])
    typed: dict[str, Any] = params.plain(params.validate(section, values))
    return typed


def _with(now: ConfigRevision | None, section: str, values: dict[str, Any]) -> Sections:
    return {**({} if now is None else now.sections), section: values}


# Writing
def section_change(
    *, actor: Actor, section: str, values: object, expected: int | None = None, reason: str = "", request_id: str = ""
) -> Changed:
    """`expected`: the version that was looked at; None: whichever is in force.

    Raises Forbidden, NotFound, Invalid with every mistake, Stale.
    """
    require(actor, CONFIG_CHANGE, CONFIG_PAGE)
    known(section)
    typed = _typed(section, values)
    return write_section(
        actor=actor, section=section, typed=typed, expected=expected, reason=reason, request_id=request_id, action="config_change"
    )


def write_section(
    *,
    actor: Actor,
    section: str,
    typed: dict[str, Any],
    expected: int | None,
    reason: str,
    request_id: str,
    action: str,
    before_it_is_told: Callable[[], None] = lambda: None,
) -> Changed:
    """The write alone: rights are asked and values typed by the use case that calls it."""
    return _written(
        lambda now: (_with(now, section, typed), None),
        actor=actor,
        section=section,
        expected=expected,
        reason=reason,
        request_id=request_id,
        action=action,
        before_it_is_told=before_it_is_told,
    )


def config_rollback(
    *,
    actor: Actor,
    version: int,
    section: str | None = None,
    expected: int | None = None,
    reason: str = "",
    request_id: str = "",
) -> Changed:
    """A new version that holds what `version` held, in one section or in all but the maintenance switch.

    Raises as section_change, and NotFound for a version that never was.
    """
    require(actor, CONFIG_CHANGE, CONFIG_PAGE)
    if section is not None:
        known(section)

    def build(now: ConfigRevision | None) -> tuple[Sections, int | None]:
        then = ConfigRevision.objects.filter(version=version).first()
        if then is None:
            raise NotFound(f"there is no version {version}")
        if section is None:
            return as_rolled_back(now, then), version
        return _with(now, section, values_of(section, then)), version

    return _written(
        build,
        actor=actor,
        section=section or "",
        expected=expected,
        reason=reason,
        request_id=request_id,
        action="config_rollback",
    )


def epoch_renew(*, actor: Actor, reason: str = "") -> Changed:
    """After a restore: the same values in a new epoch, so that no version of the lost future is newer anywhere."""
    require(actor, CONFIG_CHANGE, CONFIG_PAGE)
    return _written(
        lambda now: ({} if now is None else now.sections, None),
        actor=actor,
        section="",
        expected=None,
        reason=reason,
        request_id="",
        action="config_epoch",
        new_epoch=True,
    )


def _written(
    build: Callable[[ConfigRevision | None], tuple[Sections, int | None]],
    *,
    actor: Actor,
    section: str,
    expected: int | None,
    reason: str,
    request_id: str,
    action: str,
    new_epoch: bool = False,
    before_it_is_told: Callable[[], None] = lambda: None,
) -> Changed:
    """Compare, set, audit; after the commit `before_it_is_told`, then announced.

    The realm's lock makes two writers take turns, on either database.
    """
    announced: list[bool] = []

    def work(write: Write) -> Changed:
        now = active()
        actual = 0 if now is None else now.version
        if expected is not None and expected != actual:
            seen = ConfigRevision.objects.filter(version=expected).first()
            since = difference({} if seen is None else seen.sections, {} if now is None else now.sections)
            raise Stale(expected, actual, since)
        sections, back_to = build(now)
        try:
            # The switch is turned whatever else is stored: another section may have become wrong by an upgrade.
            config.LIVE.check({section: sections[section]} if section == config.SWITCH else sections)
        except ConfigInvalid as error:
            raise Invalid([Problem(error.path, error.problem)]) from error
        if len(config_sources.encode(sections)) > config_sources.MAX_BYTES:
            raise Invalid([Problem(section, f"the whole configuration would exceed {config_sources.MAX_BYTES} bytes")])
        epoch = time.time_ns() // 1000 if now is None or new_epoch else now.epoch
        if now is not None:
            ConfigRevision.objects.filter(pk=now.pk).update(is_active=False)
        revision = ConfigRevision.objects.create(
            epoch=epoch,
            version=actual + 1,
            sections=sections,
            section=section,
            author=actor.name[:600],
            reason=reason[:MAX_REASON],
            rolled_back_from=back_to,
        )
        differences = difference({} if now is None else now.sections, sections)
        before = {change.path: change.before for change in differences if change.before is not None}
        after = {change.path: change.after for change in differences if change.after is not None}
        write.record(action, "config", section or f"version {revision.version}", before, after)
        write.after(lambda _: before_it_is_told())
        write.after(lambda _: announced.append(announce(Snapshot(epoch, revision.version, sections))))
        return Changed(revision, differences)

    done, _ = run_write(control_realm(), actor, reason, work, request_id=request_id)
    return replace(done, announced=announced[-1] if announced else None)
