"""bundle_apply: a whole bundle in one transaction, or nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from permissions.bundle.changes import Change
from permissions.bundle.diff import diff, own_name
from permissions.bundle.keys import SECTIONS
from permissions.bundle.specs import Bundle, RealmSpec
from permissions.engine import names
from permissions.errors import Invalid, Problem, Refused
from permissions.models import Realm, Subject
from permissions.services import stepwise
from permissions.services.administrators import keeps_administrator
from permissions.services.loading import Places, Progress, judge, load, places_of
from permissions.services.realms import realm_update
from permissions.services.specs import export_bundle
from permissions.services.validation import Mistakes
from permissions.writing import Actor, Write, run_write


@dataclass(frozen=True, slots=True)
class Applied:
    """`token` and `revision` are the realm's afterwards; of a dry run, those it would have had."""

    changes: Sequence[Change]
    token: str
    revision: int
    changed: bool = False


def bundle_apply(
    *,
    actor: Actor,
    bundle: Bundle,
    realm_name: str | None = None,
    prune: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    reason: str = "",
    request_id: str = "",
) -> Applied:
    """Brings the realm to what the bundle says; an administrator's bundle makes the realm where it is missing.

    Raises Invalid with every mistake, before anything is written. An administrator's bundle is loaded in bulk. Anyone else's is
    made one use case after the other, so each line passes the guards of its own: no step gives anyone what its author lacks, so
    the whole does not either. `progress` is told (section, done, of how many).
    """
    name = bundle.realm.name if realm_name is None else realm_name
    mistakes = Mistakes(bundle.lines)
    mistakes.name(name, "realm")
    _note_repeats(bundle, mistakes)
    mistakes.refuse()

    def work(write: Write) -> list[Change]:
        mistakes.problems.clear()
        changes = _difference(write.realm, bundle, prune)
        if not changes:
            return changes
        places = places_of(bundle)
        with keeps_administrator(write):
            if actor.administrator:
                for change in changes:
                    if isinstance(change.after, RealmSpec):
                        realm_update(actor=actor, realm=write.realm, spec=change.after)
                load(write, changes, places, mistakes, progress)
            else:
                judge(write, changes, places, mistakes)
                _one_by_one(write, actor, changes, places, mistakes)
        return changes

    changes, write = run_write(name, actor, reason, work, dry_run=dry_run, request_id=request_id, create=actor.administrator)
    return Applied(changes, write.token, write.revision, write.changed)


def _note_repeats(bundle: Bundle, mistakes: Mistakes) -> None:
    """A name described twice: of two lines one would win in silence. A team is a subject, so those two share their names."""
    seen: set[tuple[str, str]] = set()
    for section in SECTIONS:
        for number, spec in enumerate(getattr(bundle, section) or () if section != "bindings" else ()):
            name = "subjects" if section == "teams" else section, own_name(spec)
            if name in seen:
                mistakes.note(f"{section}[{number}]", f"{names.shown(name[1])} is described twice")
            seen.add(name)


def unknown_names(bundle: Bundle, realm_name: str | None = None) -> list[Problem]:
    """Roles and groups that lines of the bundle name and nobody has. For a bundle that is refused already, so that its author is
    told of these mistakes with the others, and not only after those are mended."""
    realm = Realm.objects.filter(name=bundle.realm.name if realm_name is None else realm_name).first()
    roles = {spec.name for spec in bundle.roles or ()}
    groups = {spec.name for spec in bundle.groups or ()}
    if realm is not None:
        roles |= set(realm.roles.values_list("name", flat=True))
        groups |= set(realm.groups.values_list("name", flat=True))
    mistakes = Mistakes(bundle.lines)
    for number, role in enumerate(bundle.roles or ()):
        mistakes.role_names(role, f"roles[{number}]", roles={*roles, ""}, groups={*groups, ""})
    for number, binding in enumerate(bundle.bindings or ()):
        mistakes.binding_names(binding, f"bindings[{number}]", roles={*roles, ""})
    return mistakes.problems


def _difference(realm: Realm, bundle: Bundle, prune: bool) -> list[Change]:
    accounts = Subject.objects.filter(realm=realm, user__isnull=False).values_list("ref", flat=True)
    named = replace(bundle, realm=replace(bundle.realm, name=realm.name))
    return diff(export_bundle(realm), named, prune, protected=list(accounts))


def _one_by_one(write: Write, actor: Actor, changes: Sequence[Change], places: Places, mistakes: Mistakes) -> None:
    for change in changes:
        try:
            stepwise.make(write, actor, change)
        except Invalid:
            raise
        except Refused as refusal:
            where = places.get(id(change.after), f"{change.section} {change.id}")
            refusal.detail = str(Problem(where, refusal.detail, mistakes.line_of(where)))
            raise
