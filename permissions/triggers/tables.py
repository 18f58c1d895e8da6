"""What each table's triggers say: which objects a row touches, which rows contradict each other. One text for both databases.

`{x}` stands for the row that was written; each dialect puts its own name there. An edge touches its **lower end** (member, inner
team, moved child): new edges start inside the closure of a snapshot, so its `deps` miss nothing (consistency, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# A holder `type:*` is compiled into the role table, so what it is given belongs to the model.
HOLDER: Final = "CASE {s}.kind WHEN 'everyone' THEN 'm' WHEN 'team' THEN 't' ELSE 's' END"


@dataclass(frozen=True, slots=True)
class Join:
    """Another table that is needed to say what a row touches; `on` names it by `alias`, the row by {x}."""

    table: str
    alias: str
    on: str


@dataclass(frozen=True, slots=True)
class Touch:
    """One object that a row touches: SQL for its realm's id, its kind and its id."""

    realm: str
    kind: str
    object_id: str
    joins: tuple[Join, ...] = ()


@dataclass(frozen=True, slots=True)
class Rename:
    """What else an update touches when it changes `column`: objects that carry the row's name in their own snapshot.

    Where other rows find them, an insert touches them too: a row put in the place of another of the same id (REPLACE, or a delete
    before it in one transaction) gives its name to all that refers to that id.
    """

    column: str
    touch: Touch


@dataclass(frozen=True, slots=True)
class Law:
    """`breach` finds rows that may not stand together. Asked from every table in it: either side may be written last."""

    name: str
    message: str
    tables: tuple[tuple[str, str], ...]  # (alias, table)
    breach: str
    columns: tuple[tuple[str, tuple[str, ...]], ...]  # (alias, the columns of it that the breach reads)


@dataclass(frozen=True, slots=True)
class Cycle:
    """Edges `lower` → `upper` of a table that must never lead back to where they began."""

    name: str
    message: str
    lower: str
    upper: str


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    touches: tuple[Touch, ...]
    renames: tuple[Rename, ...] = ()
    ignored: tuple[str, ...] = ()  # columns whose change is no change
    keys: tuple[tuple[str, ...], ...] = ()  # unique columns beyond those that name the object: what REPLACE may displace
    cycle: Cycle | None = None

    @property
    def short(self) -> str:
        return self.name.removeprefix("permissions_")


SUBJECT: Final = "permissions_subject"
ROLE: Final = "permissions_role"
GROUP: Final = "permissions_permissiongroup"
PERMISSION: Final = "permissions_permission"
RESOURCE: Final = "permissions_resource"
BINDING: Final = "permissions_rolebinding"
MEMBERSHIP: Final = "permissions_membership"
KEY: Final = "permissions_apikey"
REALM: Final = "permissions_realm"
CHANGELOG: Final = "permissions_changelog"
AUDIT: Final = "permissions_auditevent"
HISTORY: Final = "permissions_rowhistory"
FLOOR: Final = "permissions_historyfloor"


def _own(kind: str, name: str) -> Touch:
    return Touch("{x}.realm_id", kind, "{x}." + name)


def _through(table: str, alias: str, on: str, name: str) -> Touch:
    """The model object at the lower end of a row that has no realm of its own."""
    return Touch(f"{alias}.realm_id", "'m'", f"{alias}.{name}", (Join(table, alias, on),))


def _holders(column: str) -> Touch:
    """Whoever holds a binding that names the row: their snapshots carry its name, not its id."""
    return Touch(
        "s.realm_id",
        HOLDER.format(s="s"),
        "s.ref",
        (Join(BINDING, "b", "b." + column + " = {x}.id"), Join(SUBJECT, "s", "s.id = b.subject_id")),
    )


def _below(edges: str, upper: str, lower: str, table: str, name: str) -> Touch:
    """The model objects at the lower end of edges to the row: what is read of them carries its name, not its id."""
    joins = (Join(edges, "e", f"e.{upper} = {{x}}.id"), Join(table, "o", f"o.id = e.{lower}"))
    return Touch("o.realm_id", "'m'", f"o.{name}", joins)


_REQUIRES: Final = "permissions_permissionrequirement"
_INHERITS: Final = "permissions_roleinheritance"
_HAS_GROUP: Final = "permissions_rolegroup"
_OF_SUBJECT: Final = (Join(SUBJECT, "s", "s.id = {x}.subject_id"),)

REALM_TABLE: Final = Table(
    REALM,
    touches=(Touch("{x}.id", "'m'", "{x}.name"),),
    # A name is how keys, tokens and callers know the realm: whatever was read under the old one is dropped.
    renames=(Rename("name", Touch("{x}.id", "'*'", "''")),),
    ignored=("epoch", "rev", "stamp", "write_state"),
    keys=(("name",),),
)

TABLES: Final = (
    REALM_TABLE,
    Table(
        PERMISSION,
        touches=(_own("'m'", "code"),),
        renames=(Rename("code", _below(_REQUIRES, "required_id", "permission_id", PERMISSION, "code")),),
    ),
    Table(
        _REQUIRES,
        touches=(_through(PERMISSION, "p", "p.id = {x}.permission_id", "code"),),
        cycle=Cycle(
            "requirement_cycle", "a permission cannot require itself, not through others either", "permission_id", "required_id"
        ),
    ),
    Table(
        GROUP,
        touches=(_own("'m'", "name"),),
        renames=(Rename("name", _below(_HAS_GROUP, "group_id", "role_id", ROLE, "name")),),
    ),
    Table("permissions_groupline", touches=(_through(GROUP, "g", "g.id = {x}.group_id", "name"),)),
    Table(
        ROLE,
        touches=(_own("'m'", "name"),),
        renames=(
            Rename("name", _holders("role_id")),
            Rename("name", _below(_INHERITS, "parent_id", "role_id", ROLE, "name")),
        ),
    ),
    Table("permissions_roleline", touches=(_through(ROLE, "r", "r.id = {x}.role_id", "name"),)),
    Table(
        _INHERITS,
        touches=(_through(ROLE, "r", "r.id = {x}.role_id", "name"),),
        cycle=Cycle("role_cycle", "a role cannot inherit from itself, not through others either", "role_id", "parent_id"),
    ),
    Table(_HAS_GROUP, touches=(_through(ROLE, "r", "r.id = {x}.role_id", "name"),)),
    Table(
        SUBJECT,
        touches=(_own(HOLDER.format(s="{x}"), "ref"),),
        renames=(Rename("ref", Touch("k.realm_id", "'k'", "k.prefix", (Join(KEY, "k", "k.subject_id = {x}.id"),))),),
        keys=(("user_id",),),
    ),
    Table(
        MEMBERSHIP,
        touches=(Touch("s.realm_id", HOLDER.format(s="s"), "s.ref", (Join(SUBJECT, "s", "s.id = {x}.member_id"),)),),
        cycle=Cycle("team_cycle", "a team cannot be its own member, not through others either", "member_id", "team_id"),
    ),
    Table(
        RESOURCE,
        touches=(_own("'r'", "ref"),),
        renames=(Rename("ref", _holders("scope_id")),),
        cycle=Cycle("resource_cycle", "a resource cannot lie below itself", "id", "parent_id"),
    ),
    Table(
        BINDING,
        touches=(Touch("{x}.realm_id", HOLDER.format(s="s"), "s.ref", _OF_SUBJECT),),
        ignored=("created_at",),
    ),
    Table(KEY, touches=(_own("'k'", "prefix"),), ignored=("created_at", "created_by"), keys=(("prefix",), ("digest",))),
)


def _same_realm(name: str, message: str, child: str, parent: str, column: str) -> Law:
    return Law(
        name,
        message,
        (("c", child), ("p", parent)),
        f"p.id = c.{column} AND p.realm_id <> c.realm_id",
        (("c", ("id", column, "realm_id")), ("p", ("id", "realm_id"))),
    )


def _edge(name: str, message: str, edge: str, *, parent: tuple[str, str], child: tuple[str, str], also: str = "") -> Law:
    """Both ends of an edge row, which has no realm of its own, lie in one realm. Ends are (table, column of the edge)."""
    named = ("id", "realm_id", "kind") if also else ("id", "realm_id")
    return Law(
        name,
        message,
        (("e", edge), ("p", parent[0]), ("c", child[0])),
        f"p.id = e.{parent[1]} AND c.id = e.{child[1]} AND (p.realm_id <> c.realm_id{also})",
        (("e", ("id", parent[1], child[1])), ("p", named), ("c", named)),
    )


LAWS: Final = (
    _edge(
        "requirement_realm",
        "a permission can require only permissions of its own realm",
        _REQUIRES,
        parent=(PERMISSION, "required_id"),
        child=(PERMISSION, "permission_id"),
    ),
    _edge(
        "inheritance_realm",
        "a role can inherit only from roles of its own realm",
        _INHERITS,
        parent=(ROLE, "parent_id"),
        child=(ROLE, "role_id"),
    ),
    _edge(
        "role_group_realm",
        "a role can hold only groups of its own realm",
        _HAS_GROUP,
        parent=(GROUP, "group_id"),
        child=(ROLE, "role_id"),
    ),
    _edge(
        "membership_ends",
        "a membership joins a team and a subject or team of the same realm",
        MEMBERSHIP,
        parent=(SUBJECT, "team_id"),
        child=(SUBJECT, "member_id"),
        also=" OR p.kind <> 'team' OR c.kind = 'everyone'",
    ),
    _same_realm("resource_realm", "a resource's parent must lie in its own realm", RESOURCE, RESOURCE, "parent_id"),
    _same_realm("binding_subject_realm", "a binding's subject must be of the binding's realm", BINDING, SUBJECT, "subject_id"),
    _same_realm("binding_role_realm", "a binding's role must be of the binding's realm", BINDING, ROLE, "role_id"),
    _same_realm("binding_scope_realm", "a binding's scope must be of the binding's realm", BINDING, RESOURCE, "scope_id"),
    _same_realm("key_subject_realm", "a key's subject must be of the key's realm", KEY, SUBJECT, "subject_id"),
)
