"""The changes of a bundle, made in bulk: everything is judged first, with all mistakes at once; then section by section."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from permissions.bundle.changes import Change
from permissions.bundle.schema import canonical
from permissions.bundle.specs import Bundle, PermissionSpec, ResourceSpec, Spec, SubjectSpec, TeamSpec
from permissions.engine import names
from permissions.models import Membership, Permission, PermissionGroup, Resource, Role, RoleBinding, Subject
from permissions.services.cycles import REQUIREMENTS, RESOURCES, ROLES, TEAMS, Graph, edges_of, refuse_cycles
from permissions.services.specs import SECTIONS, binding_spec, bindings_with_names, parts
from permissions.services.stores.bindings import store_bindings
from permissions.services.stores.catalog import rows_by, store_groups, store_permissions, store_roles
from permissions.services.stores.resources import store_resources
from permissions.services.stores.rows import Item, record
from permissions.services.stores.subjects import store_subjects, store_teams
from permissions.services.validation import Mistakes
from permissions.writing import Write

Progress = Callable[[str, int, int], None]
Places = Mapping[int, str]

# section → (model, its natural key, the audit's word)
_TABLE: Final[Mapping[str, tuple[Any, str, str]]] = {
    "permissions": (Permission, "code", "permission"),
    "groups": (PermissionGroup, "name", "group"),
    "roles": (Role, "name", "role"),
    "subjects": (Subject, "ref", "subject"),
    "teams": (Subject, "ref", "team"),
    "resources": (Resource, "ref", "resource"),
}
_STORE: Final[Mapping[str, Callable[[Write, Any], Mapping[str, Any]]]] = {
    "permissions": store_permissions,
    "groups": store_groups,
    "roles": store_roles,
    "subjects": store_subjects,
    "teams": store_teams,
    "resources": store_resources,
}
_GRAPH: Final[Mapping[str, Graph]] = {
    "permissions": REQUIREMENTS,
    "roles": ROLES,
    "teams": TEAMS,
    "resources": RESOURCES,
}
# Objects stored at once: enough to keep statements few, small enough that a bar moves (a tenth of the largest real catalogue).
STEP: Final = 250


def places_of(bundle: Bundle) -> dict[int, str]:
    """Where each line of the bundle stands, by the identity of its spec: a binding has no name of its own to be found by."""
    return {
        id(spec): f"{section}[{number}]" for section in SECTIONS for number, spec in enumerate(getattr(bundle, section) or ())
    }


def judge(write: Write, changes: Sequence[Change], places: Places, mistakes: Mistakes) -> None:
    """Notes every mistake of the lines that are to be stored, those between a line and the realm included."""
    gone = {(change.section, change.id) for change in changes if change.kind == "remove"}
    roles = set(Role.objects.filter(realm=write.realm).values_list("name", flat=True))
    groups = set(PermissionGroup.objects.filter(realm=write.realm).values_list("name", flat=True))
    for change in changes:
        if change.kind != "remove" and change.section == "roles":
            roles.add(change.id)
        elif change.kind != "remove" and change.section == "groups":
            groups.add(change.id)
    roles -= {name for section, name in gone if section == "roles"}
    groups -= {name for section, name in gone if section == "groups"}
    for change in changes:
        if change.implied:
            continue  # judged where a line names it
        where, spec = places.get(id(change.after), ""), change.after
        match change.section:
            case "permissions" if spec is not None:
                mistakes.permission(spec, where)  # type: ignore[arg-type]
            case "groups" if spec is not None:
                mistakes.group(spec, where)  # type: ignore[arg-type]
            case "roles" if spec is not None:
                mistakes.role(spec, where, roles=roles, groups=groups)  # type: ignore[arg-type]
            case "subjects" if spec is not None:
                mistakes.subject(spec, where)  # type: ignore[arg-type]
            case "teams" if spec is not None:
                mistakes.team(spec, where)  # type: ignore[arg-type]
            case "resources" if spec is not None:
                mistakes.resource(spec, where)  # type: ignore[arg-type]
            case "bindings" if spec is not None:
                mistakes.binding(spec, where, roles=roles)  # type: ignore[arg-type]
    _judge_kinds(write, changes, places, mistakes)
    mistakes.refuse()


def _judge_kinds(write: Write, changes: Sequence[Change], places: Places, mistakes: Mistakes) -> None:
    """A subject may turn out to be a team, unless it is an account; a team may become a subject once it holds nobody."""
    turning = {
        change.id: change
        for change in changes
        if change.before is not None and change.after is not None and type(change.before) is not type(change.after)
    }
    if not turning:
        return
    rows = rows_by(Subject, write.realm, "ref", turning.keys())
    for ref, change in turning.items():
        where = places.get(id(change.after), "")
        if isinstance(change.after, TeamSpec) and rows[ref].user_id is not None:
            mistakes.note(where, f"{names.shown(ref)} belongs to a Django account and cannot be a team")
        if isinstance(change.after, SubjectSpec) and Membership.objects.filter(team=rows[ref]).exists():
            mistakes.note(where, f"{names.shown(ref)} is a team with members and cannot be listed as a subject")


def load(write: Write, changes: Sequence[Change], places: Places, mistakes: Mistakes, progress: Progress | None = None) -> None:
    """Makes the changes; the realm's own were made before. Raises Invalid with every mistake before anything is written."""
    judge(write, changes, places, mistakes)
    by_section: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        # What a line merely names is made by the line that names it.
        if not change.implied:
            by_section[change.section].append(change)
    for section in _TABLE:
        made = [change for change in by_section[section] if change.kind != "remove"]
        if made and section in _GRAPH:
            refuse_cycles(
                write.realm, _GRAPH[section], {change.id: edges_of(change.after) for change in made if change.after is not None}
            )
        if made:
            _store(write, section, made, places, progress)
    _bindings(write, by_section["bindings"], places, progress)
    for section in reversed(list(_TABLE)):
        gone = [change for change in by_section[section] if change.kind == "remove"]
        if gone:
            _remove(write, section, gone)


def _store(write: Write, section: str, changes: Sequence[Change], places: Places, progress: Progress | None) -> None:
    model, key, _ = _TABLE[section]
    for start in range(0, len(changes), STEP):
        step = changes[start : start + STEP]
        # Read at each step: a line of the step before may have named one of these, and so made its row.
        known = rows_by(model, write.realm, key, {change.id for change in step})
        items = [
            Item(change.after, change.before or _bare(change, known), known.get(change.id), places.get(id(change.after), ""))
            for change in step
        ]
        _STORE[section](write, items)
        if progress is not None:
            progress(section, start + len(step), len(changes))


def _bare(change: Change, known: Mapping[str, Any]) -> Spec | None:
    """What a row is that was made by being named only."""
    if change.id not in known:
        return None
    match change.section:
        case "permissions":
            return PermissionSpec(change.id)
        case "resources":
            return ResourceSpec(change.id)
        case _:
            return SubjectSpec(change.id)


def _bindings(write: Write, changes: Sequence[Change], places: Places, progress: Progress | None) -> None:
    new: list[Item[Any, RoleBinding]] = [
        Item(change.after, where=places.get(id(change.after), "")) for change in changes if change.kind == "add"
    ]
    for start in range(0, len(new), 10 * STEP):
        store_bindings(write, new[start : start + 10 * STEP])
        if progress is not None:
            progress("bindings", min(start + 10 * STEP, len(new)), len(new))
    gone = [change.before for change in changes if change.kind == "remove" and change.before is not None]
    if not gone:
        return
    rows = rows_of_bindings(write, gone)
    for row, spec in rows:
        record(write, "binding", str(row.pk), spec, None)
    for part in parts([row.pk for row, _ in rows]):
        RoleBinding.objects.filter(pk__in=part).delete()


def rows_of_bindings(write: Write, specs: Sequence[Spec]) -> list[tuple[RoleBinding, Spec]]:
    """One row for each spec. Equal bindings cannot be told apart, and need not be: the youngest go first."""
    rows: dict[str, list[RoleBinding]] = defaultdict(list)
    for row in bindings_with_names(write.realm).order_by("pk"):
        rows[canonical(binding_spec(row))].append(row)
    return [(rows[canonical(spec)].pop(), spec) for spec in specs]


def _remove(write: Write, section: str, changes: Sequence[Change]) -> None:
    """The difference keeps whatever is still named, so nothing hangs on these any more."""
    model, key, noun = _TABLE[section]
    rows = rows_by(model, write.realm, key, {change.id for change in changes})
    for part in parts([row.pk for row in rows.values()]):
        if section == "resources":
            # The tree protects its nodes from losing a parent; here parent and child go together.
            Resource.objects.filter(pk__in=part).update(parent=None)
    for part in parts([row.pk for row in rows.values()]):
        model.objects.filter(pk__in=part).delete()
    for change in changes:
        record(write, noun, change.id, change.before, None)
