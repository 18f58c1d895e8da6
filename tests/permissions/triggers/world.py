"""Two realms, and for each table how a row of it is made, changed and named in the changelog."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import models

from permissions.models import (
    ApiKey,
    Changelog,
    GroupLine,
    Membership,
    Permission,
    PermissionGroup,
    PermissionRequirement,
    Realm,
    Resource,
    Role,
    RoleBinding,
    RoleGroup,
    RoleInheritance,
    RoleLine,
    Subject,
)

_numbers = itertools.count(1)
Objects = set[tuple[str, str]]


def unique(text: str) -> str:
    """Names never repeat, so that tests may share a world in any order."""
    return f"{text}{next(_numbers)}"


@dataclass
class World:
    """A realm with one row of each noun that others can hang on."""

    realm: Realm
    permission: Permission = field(init=False)
    group: PermissionGroup = field(init=False)
    role: Role = field(init=False)
    team: Subject = field(init=False)
    bob: Subject = field(init=False)
    node: Resource = field(init=False)

    def __post_init__(self) -> None:
        self.permission = Permission.objects.create(realm=self.realm, code=unique("doc:p"))
        self.group = PermissionGroup.objects.create(realm=self.realm, name=unique("group"))
        self.role = Role.objects.create(realm=self.realm, name=unique("role"))
        self.team = self.subject("team")
        self.bob = self.subject("subject")
        self.node = Resource.objects.create(realm=self.realm, ref=unique("server:"))

    @classmethod
    def create(cls) -> World:
        return cls(Realm.objects.create(name=unique("realm")))

    def subject(self, kind: str) -> Subject:
        ref = unique({"everyone": "robot", "team": "team:", "subject": "user:"}[kind])
        return Subject.objects.create(realm=self.realm, kind=kind, ref=f"{ref}:*" if kind == "everyone" else ref)

    def head(self) -> int:
        return Realm.objects.values_list("rev", flat=True).get(pk=self.realm.pk)

    def log_after(self, rev: int) -> dict[int, Objects]:
        found: dict[int, Objects] = {}
        rows = Changelog.objects.filter(realm_id=self.realm.pk, rev__gt=rev).values_list("rev", "kind", "object_id")
        for at, kind, object_id in rows:
            found.setdefault(at, set()).add((kind, object_id))
        return found


@dataclass(frozen=True)
class Case:
    """A table. `new`: an unsaved row, its parents saved; `named`: what a row touches; `change`: a field and another value."""

    name: str
    model: type[models.Model]
    new: Callable[[World], Any]
    named: Callable[[Any], Objects]
    change: tuple[str, Callable[[World], Any]]
    unique: tuple[str, ...] = ()  # columns of its natural key, for upserts
    parent: Callable[[Any], Any] | None = None  # what cascades to it

    def __str__(self) -> str:
        return self.name


def _subject(kind: str, letter: str) -> Case:
    def new(world: World) -> Subject:
        ref = unique({"everyone": "robot", "team": "team:", "subject": "user:"}[kind])
        return Subject(realm=world.realm, kind=kind, ref=f"{ref}:*" if kind == "everyone" else ref)

    return Case(
        f"subject_{kind}",
        Subject,
        new,
        lambda r: {(letter, r.ref)},
        ("attributes", lambda w: {"n": unique("")}),
        ("realm_id", "ref"),
    )


def _binding(kind: str, letter: str) -> Case:
    return Case(
        f"binding_{kind}",
        RoleBinding,
        lambda w: RoleBinding(realm=w.realm, subject=w.subject(kind), role=w.role, scope=w.node),
        lambda r: {(letter, r.subject.ref)},
        ("condition", lambda w: unique("context.n == ")),
        (),
        lambda r: r.subject,
    )


def _membership(kind: str, letter: str) -> Case:
    return Case(
        f"membership_{kind}",
        Membership,
        lambda w: Membership(team=w.team, member=w.subject(kind)),
        lambda r: {(letter, r.member.ref)},
        ("team", lambda w: w.subject("team")),
        ("team_id", "member_id"),
        lambda r: r.member,
    )


def _named(row: Any) -> Objects:
    return {("m", getattr(row, "code", None) or row.name)}


def _new_role(world: World) -> Role:
    return Role.objects.create(realm=world.realm, name=unique("role"))


CASES = (
    Case(
        "permission",
        Permission,
        lambda w: Permission(realm=w.realm, code=unique("doc:a")),
        _named,
        ("critical", lambda w: True),
        ("realm_id", "code"),
    ),
    Case(
        "requirement",
        PermissionRequirement,
        lambda w: PermissionRequirement(
            permission=Permission.objects.create(realm=w.realm, code=unique("doc:a")), required=w.permission
        ),
        lambda r: _named(r.permission),
        ("required", lambda w: Permission.objects.create(realm=w.realm, code=unique("doc:q"))),
        ("permission_id", "required_id"),
        lambda r: r.permission,
    ),
    Case(
        "group",
        PermissionGroup,
        lambda w: PermissionGroup(realm=w.realm, name=unique("group")),
        _named,
        ("title", lambda w: unique("title")),
        ("realm_id", "name"),
    ),
    Case(
        "group_line",
        GroupLine,
        lambda w: GroupLine(group=PermissionGroup.objects.create(realm=w.realm, name=unique("group")), pattern="doc:*"),
        lambda r: _named(r.group),
        ("pattern", lambda w: unique("doc:a")),
        ("group_id", "pattern"),
        lambda r: r.group,
    ),
    Case(
        "role",
        Role,
        lambda w: Role(realm=w.realm, name=unique("role")),
        _named,
        ("obligations", lambda w: [{"id": unique("o"), "type": "log"}]),
        ("realm_id", "name"),
    ),
    Case(
        "role_line",
        RoleLine,
        lambda w: RoleLine(role=_new_role(w), pattern="doc:*"),
        lambda r: _named(r.role),
        ("condition", lambda w: unique("context.n == ")),
        ("role_id", "effect", "pattern", "condition"),
        lambda r: r.role,
    ),
    Case(
        "inheritance",
        RoleInheritance,
        lambda w: RoleInheritance(role=_new_role(w), parent=w.role),
        lambda r: _named(r.role),
        ("parent", _new_role),
        ("role_id", "parent_id"),
        lambda r: r.role,
    ),
    Case(
        "role_group",
        RoleGroup,
        lambda w: RoleGroup(role=_new_role(w), group=w.group),
        lambda r: _named(r.role),
        ("group", lambda w: PermissionGroup.objects.create(realm=w.realm, name=unique("group"))),
        ("role_id", "group_id"),
        lambda r: r.role,
    ),
    _subject("subject", "s"),
    _subject("team", "t"),
    _subject("everyone", "m"),
    _membership("subject", "s"),
    _membership("team", "t"),
    Case(
        "resource",
        Resource,
        lambda w: Resource(realm=w.realm, ref=unique("doc:"), parent=w.node),
        lambda r: {("r", r.ref)},
        ("inherit", lambda w: False),
        ("realm_id", "ref"),
    ),
    _binding("subject", "s"),
    _binding("team", "t"),
    _binding("everyone", "m"),
    Case(
        "key",
        ApiKey,
        lambda w: ApiKey(realm=w.realm, name=unique("key"), prefix=unique("p"), digest=unique("d"), subject=w.bob),
        lambda r: {("k", r.prefix)},
        ("asserted", lambda w: "ignore"),
        ("prefix",),
        lambda r: r.subject,
    ),
)
