"""A realm that changes at random, by every way that rows can be written; and what was read of it after each change."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from permissions import selectors, timeline
from permissions.cache import live
from permissions.engine.questions import question
from permissions.engine.types import Decision, ModelFacts, Request, ResourceFacts, SubjectFacts
from permissions.models import (
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
from permissions.writing import SYSTEM, permission_write

_numbers = itertools.count(1)
CODES = ("post:read", "post:edit", "post:edit:own", "doc:read", "doc:purge")
PATTERNS = (*CODES, "*", "post:*", "*:read", "d?c:*")
CONDITIONS = ("", "", "", "context.mfa == true", "subject.attributes.dept == 'sales'", "resource.attributes.open == true")
PEOPLE = ("user:a", "user:b", "agent:c")
TEAMS = ("team:x", "team:y", "team:z")
EVERYONE = ("user:*", "team:*")
NODES = ("srv:1", "ch:2", "ch:3", "msg:4")
DAY = dt.timedelta(days=1)


@dataclass
class Seen:
    """What was read at a revision, and what was decided."""

    model: ModelFacts
    subjects: dict[str, SubjectFacts]
    resources: dict[str, ResourceFacts]
    at_us: int
    decisions: list[Decision]


@dataclass
class Changing:
    realm: Realm
    rnd: random.Random
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC).replace(microsecond=123000))
    seen: dict[int, Seen] = field(default_factory=dict)

    @classmethod
    def begun(cls, seed: int) -> Changing:
        name = f"past-{uuid.uuid4().hex[:12]}"
        with permission_write(name, SYSTEM, create=True):
            pass
        changing = cls(Realm.objects.get(name=name), random.Random(seed))
        changing.look()
        with permission_write(name, SYSTEM):
            for code in CODES:
                Permission.objects.create(realm=changing.realm, code=code)
            for _ in range(6):
                changing.binding()
        changing.look()
        return changing

    # What is asked.

    @property
    def requests(self) -> list[Request]:
        asked = [
            question(subject, code, resource, context={"mfa": True})
            for subject in (*PEOPLE, "team:x", "user:never")
            for code in CODES[1:4]
            for resource in (None, "ch:2", "msg:4")
        ]
        asked += [
            question("user:never", code, "ch:2", subject_properties={"teams": ["x", "y"]}, asserted="override") for code in CODES
        ]
        asked += [question("user:a", code, "doc:new", resource_properties={"parent": "ch:3"}) for code in CODES]
        return asked

    def look(self) -> int:
        """Reads all of the realm as it is now, and keeps it under its revision."""
        self.realm.refresh_from_db()
        subjects = [*PEOPLE, *TEAMS, "user:never", "user:renamed"]
        resources = [*NODES, "doc:unseen", "node:renamed"]
        at_us = time.time_ns() // 1000
        with selectors.one_snapshot():
            pinned = live.opened(self.realm.name, None, at_us)
            live.load_for(pinned, self.requests)
            self.seen[pinned.head.rev] = Seen(
                selectors.model_facts(Realm.objects.get(pk=self.realm.pk)),
                selectors.subject_facts(self.realm.pk, subjects, ["team:x"]),
                selectors.resource_facts(self.realm.pk, resources),
                at_us,
                [timeline.decide(pinned, request, place=n) for n, request in enumerate(self.requests)],
            )
        return pinned.head.rev

    # How it changes.

    def change(self) -> None:
        """One transaction of one to four changes, now and then with some that are rolled back."""
        with permission_write(self.realm, SYSTEM):
            for _ in range(self.rnd.choice((1, 1, 2, 4))):
                if self.rnd.random() < 0.15:
                    self.rolled_back()
                self.step()
        self.look()

    def foreign_change(self) -> None:
        """The same without our door, as another program writes: on SQLite each row is a revision then."""
        with transaction.atomic():
            self.step()
        self.look()

    def rolled_back(self) -> None:
        try:
            with transaction.atomic():
                self.step()
                self.step()
                raise _Undone
        except _Undone:
            pass

    def step(self) -> None:
        self.rnd.choice(
            (
                self.subject,
                self.subject_changed,
                self.subject_gone,
                self.subject_renamed,
                self.membership,
                self.membership_changed,
                self.memberships_gone,
                self.resource,
                self.resource_changed,
                self.resource_gone,
                self.permission,
                self.permission_changed,
                self.group,
                self.role,
                self.role_changed,
                self.role_lines_replaced,
                self.role_gone,
                self.binding,
                self.binding,
                self.binding,
                self.bindings_in_bulk,
                self.bindings_changed,
                self.bindings_gone,
                self.realm_changed,
                self.upsert,
                self.replaced_by_raw_sql,
            )
        )()

    def some(self, model: Any, **wanted: Any) -> Any:
        rows = list(model.objects.filter(**({"realm": self.realm} | wanted)).order_by("pk"))
        return self.rnd.choice(rows) if rows else None

    def window(self) -> dict[str, dt.datetime | None]:
        kind = self.rnd.randrange(6)
        return {
            "valid_from": None if kind < 4 else self.now - DAY if kind == 4 else self.now + DAY,
            "valid_until": self.now - DAY if kind == 3 else None,
        }

    def attributes(self) -> dict[str, Any]:
        return self.rnd.choice(({}, {"dept": "sales"}, {"dept": "it", "n": 1.5}, {"open": True, "text": 'a "quoted" \u2603'}))

    def subject(self) -> Subject:
        ref = self.rnd.choice((*PEOPLE, *TEAMS, *EVERYONE))
        kind = "everyone" if ref.endswith(":*") else "team" if ref.startswith("team:") else "subject"
        row, _ = Subject.objects.get_or_create(
            realm=self.realm, ref=ref, defaults={"kind": kind, "attributes": self.attributes()}
        )
        return row

    def subject_changed(self) -> None:
        row = self.some(Subject)
        if row is not None:
            row.attributes, row.active, row.locked = self.attributes(), self.rnd.random() < 0.8, self.rnd.random() < 0.1
            row.save()

    def subject_renamed(self) -> None:
        row = self.some(Subject, kind="subject")
        if row is not None and not Subject.objects.filter(realm=self.realm, ref="user:renamed").exists():
            Subject.objects.filter(pk=row.pk).update(ref="user:renamed")

    def subject_gone(self) -> None:
        row = self.some(Subject)
        if row is not None:
            row.delete()

    def membership(self) -> None:
        member, team = self.subject(), self.some(Subject, kind="team")
        # Upwards only, so that no ring is closed.
        if team is not None and member.kind != "everyone" and (member.kind == "subject" or member.ref < team.ref):
            Membership.objects.get_or_create(team=team, member=member, defaults=self.window())

    def membership_changed(self) -> None:
        rows = list(Membership.objects.filter(team__realm=self.realm))
        for row in rows[:2]:
            for name, value in self.window().items():
                setattr(row, name, value)
        Membership.objects.bulk_update(rows[:2], ["valid_from", "valid_until"])

    def memberships_gone(self) -> None:
        Membership.objects.filter(team=self.some(Subject, kind="team")).delete()

    def resource(self) -> Resource:
        ref = self.rnd.choice(NODES)
        above = [node for node in NODES if node < ref]
        parent = Resource.objects.filter(realm=self.realm, ref__in=above).order_by("pk").first()
        row, _ = Resource.objects.get_or_create(
            realm=self.realm, ref=ref, defaults={"parent": parent, "attributes": self.attributes()}
        )
        return row

    def resource_changed(self) -> None:
        row = self.some(Resource)
        if row is None:
            return
        row.inherit, row.attributes = self.rnd.random() < 0.6, self.attributes()
        if self.rnd.random() < 0.4:
            row.parent = Resource.objects.filter(realm=self.realm, pk__lt=row.pk).first() if row.children.count() == 0 else None
        if self.rnd.random() < 0.2 and not Resource.objects.filter(realm=self.realm, ref="node:renamed").exists():
            row.ref = "node:renamed"
        row.save()

    def resource_gone(self) -> None:
        row = self.some(Resource)
        if row is not None and not row.children.exists():
            row.delete()

    def permission(self) -> Permission:
        row, _ = Permission.objects.get_or_create(realm=self.realm, code=self.rnd.choice(CODES))
        return row

    def permission_changed(self) -> None:
        row = self.permission()
        match self.rnd.randrange(4):
            case 0:
                row.delete()
            case 1:
                row.critical = not row.critical
                row.save()
            case 2:
                lesser = Permission.objects.filter(realm=self.realm, code__lt=row.code).first()
                if lesser is not None:
                    PermissionRequirement.objects.get_or_create(permission=row, required=lesser)
            case 3:
                PermissionRequirement.objects.filter(permission=row).delete()

    def group(self) -> None:
        group, _ = PermissionGroup.objects.get_or_create(realm=self.realm, name=self.rnd.choice(("g1", "g2")))
        if self.rnd.random() < 0.2:
            group.delete()
            return
        GroupLine.objects.get_or_create(group=group, pattern=self.rnd.choice(PATTERNS))
        role = self.some(Role)
        if role is not None:
            RoleGroup.objects.get_or_create(role=role, group=group)

    def role(self) -> Role:
        row, is_new = Role.objects.get_or_create(realm=self.realm, name=self.rnd.choice(("r1", "r2", "r3")))
        if is_new:
            RoleLine.objects.create(role=row, pattern=self.rnd.choice(PATTERNS), condition=self.rnd.choice(CONDITIONS))
        return row

    def role_changed(self) -> None:
        row = self.role()
        match self.rnd.randrange(4):
            case 0:
                Role.objects.filter(pk=row.pk).update(**self.window())
            case 1:
                row.obligations = [{"id": "o", "type": "log", "n": next(_numbers)}]
                row.save()
            case 2:
                above = Role.objects.filter(realm=self.realm, name__gt=row.name).first()
                if above is not None:
                    RoleInheritance.objects.get_or_create(role=row, parent=above)
            case 3:
                Role.objects.filter(pk=row.pk).update(name=f"role{next(_numbers)}")

    def role_lines_replaced(self) -> None:
        row = self.role()
        row.lines.all().delete()
        effects = [(self.rnd.choice(("allow", "allow", "deny", "exclude")), p) for p in self.rnd.sample(PATTERNS, 3)]
        RoleLine.objects.bulk_create([RoleLine(role=row, effect=effect, pattern=pattern) for effect, pattern in effects])

    def role_gone(self) -> None:
        row = self.some(Role)
        if row is not None:
            row.delete()

    def binding(self) -> None:
        self.new_binding().save()

    def new_binding(self) -> RoleBinding:
        is_role = self.rnd.random() < 0.6
        return RoleBinding(
            realm=self.realm,
            subject=self.subject(),
            role=self.role() if is_role else None,
            allow=[] if is_role else [self.rnd.choice(PATTERNS)],
            deny=[] if is_role or self.rnd.random() < 0.6 else [self.rnd.choice(CODES)],
            scope=self.resource() if self.rnd.random() < 0.5 else None,
            condition=self.rnd.choice(CONDITIONS),
            propagate=self.rnd.random() < 0.8,
            obligations=[{"id": "b", "type": "notify"}] if self.rnd.random() < 0.2 else [],
            **self.window(),
        )

    def bindings_in_bulk(self) -> None:
        RoleBinding.objects.bulk_create([self.new_binding() for _ in range(4)])

    def bindings_changed(self) -> None:
        RoleBinding.objects.filter(realm=self.realm, pk__in=self.half()).update(
            condition=self.rnd.choice(CONDITIONS), propagate=self.rnd.random() < 0.5
        )

    def bindings_gone(self) -> None:
        RoleBinding.objects.filter(realm=self.realm, pk__in=self.half()).delete()

    def half(self) -> list[int]:
        keys = sorted(RoleBinding.objects.filter(realm=self.realm).values_list("pk", flat=True))
        return self.rnd.sample(keys, (len(keys) + 1) // 2)

    def realm_changed(self) -> None:
        Realm.objects.filter(pk=self.realm.pk).update(
            combining=self.rnd.choice(("deny_overrides", "overlay")),
            unknown_subjects=self.rnd.choice(("deny", "everyone")),
            resource_types=self.rnd.choice(({}, {"ch": {"combining": "overlay"}})),
            suspended=self.rnd.random() < 0.1,
        )

    def upsert(self) -> None:
        Subject.objects.bulk_create(
            [Subject(realm=self.realm, ref=ref, attributes=self.attributes()) for ref in PEOPLE],
            update_conflicts=True,
            unique_fields=["realm", "ref"],
            update_fields=["attributes"],
        )

    def replaced_by_raw_sql(self) -> None:
        """On SQLite REPLACE, which removes a row without its delete trigger; elsewhere what comes nearest to it."""
        row = self.some(Subject, kind="subject")
        if row is None:
            return
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute(
                    "INSERT OR REPLACE INTO permissions_subject (id, realm_id, ref, kind, attributes, active, locked) "
                    "VALUES (%s, %s, %s, 'subject', '{}', 1, 0)",
                    [row.pk, self.realm.pk, row.ref],
                )
            else:
                cursor.execute("UPDATE permissions_subject SET attributes = '{}', active = true WHERE id = %s", [row.pk])


class _Undone(Exception):
    pass
