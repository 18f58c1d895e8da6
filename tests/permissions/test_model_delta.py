"""A model read by the names in the changelog equals the model read whole: after every write, however it was made."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from permissions import selectors
from permissions.bundle.specs import CodeSpec, GroupSpec, PermissionSpec, RoleSpec
from permissions.engine.types import ModelFacts
from permissions.errors import Conflict, Invalid, NotFound
from permissions.models import (
    Changelog,
    GroupLine,
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
from permissions.services import catalog
from permissions.writing import SYSTEM, permission_write
from tests.permissions.triggers.world import unique

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("db")]

# Few, so that writes collide; one is a name of every kind of object, and one a pattern as well.
NAMES = ("alpha", "beta", "gamma", "doc:read", "user:*", "Zeta", "äther")
CODES = ("doc:read", "doc:write", "Doc:read", "doc:read:own", "other:read")
PATTERNS = ("doc:*", "*", "doc:read", "other:*", "permsite.role:view")
HOLDERS = ("user:*", "agent:*", "doc:*")
STEPS = 110


@pytest.fixture(scope="module")
def db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Instead of pytest-django's, with real commits: a test's own transaction would put all its writes into one revision."""
    with django_db_blocker.unblock():
        yield
        call_command("flush", interactive=False, verbosity=0, reset_sequences=False)


class Follower:
    """A model kept up by the changelog alone."""

    def __init__(self, name: str = "") -> None:
        self.realm = Realm.objects.create(name=name or unique("followed"))
        self.rev = self.head()
        self.facts = self.read()

    def head(self) -> int:
        return Realm.objects.values_list("rev", flat=True).get(pk=self.realm.pk)

    def read(self) -> ModelFacts:
        with selectors.one_snapshot():
            return selectors.model_facts(Realm.objects.get(pk=self.realm.pk))

    def names(self) -> set[str] | None:
        """What the changelog names since; None where it says "everything"."""
        rows = set(
            Changelog.objects.filter(realm_id=self.realm.pk, rev__gt=self.rev, kind__in="m*").values_list("kind", "object_id")
        )
        return None if ("*", "") in rows else {name for _, name in rows}

    def follow(self) -> ModelFacts:
        names = self.names()
        with selectors.one_snapshot():
            self.facts = self.read() if names is None else selectors.model_delta(self.realm.pk, names, self.facts)
        self.rev = self.head()
        return self.facts


@pytest.fixture
def follower() -> Follower:
    return Follower()


class Writer:
    """Random writes of one realm, by every road."""

    def __init__(self, realm: Realm, rnd: random.Random) -> None:
        self.realm = realm
        self.rnd = rnd
        self.elsewhere = Realm.objects.create(name=unique("elsewhere"))
        self.made = 0

    def name(self) -> str:
        return self.rnd.choice(NAMES)

    def any_of(self, model: Any, **more: Any) -> Any:
        rows = list(model.objects.filter(realm=self.realm, **more).order_by("pk"))
        return self.rnd.choice(rows) if rows else None

    def role(self) -> Role:
        return self.any_of(Role) or Role.objects.create(realm=self.realm, name=self.name())

    def group(self) -> PermissionGroup:
        return self.any_of(PermissionGroup) or PermissionGroup.objects.create(realm=self.realm, name=self.name())

    def permission(self) -> Permission:
        return self.any_of(Permission) or Permission.objects.create(realm=self.realm, code=self.rnd.choice(CODES))

    def everyone(self) -> Subject:
        found = self.any_of(Subject, kind="everyone")
        return found or Subject.objects.create(realm=self.realm, kind="everyone", ref=self.rnd.choice(HOLDERS))

    def noun(self) -> tuple[Any, str, str]:
        """A row that others refer to, the field of its name, and another name."""
        match self.rnd.randrange(3):
            case 0:
                return self.role(), "name", self.name()
            case 1:
                return self.group(), "name", self.name()
            case _:
                return self.permission(), "code", self.rnd.choice(CODES)

    def create(self) -> None:
        self.rnd.choice((Role, PermissionGroup)).objects.create(realm=self.realm, name=self.name())

    def register(self) -> None:
        Permission.objects.create(realm=self.realm, code=self.rnd.choice(CODES), critical=self.rnd.random() < 0.3)

    def create_elsewhere(self) -> None:
        role = Role.objects.create(realm=self.elsewhere, name=self.name())
        RoleLine.objects.create(role=role, pattern=self.rnd.choice(PATTERNS))

    def delete(self) -> None:
        """With all that hangs on it, as Django collects it."""
        self.noun()[0].delete()

    def rename(self) -> None:
        row, field, name = self.noun()
        type(row).objects.filter(pk=row.pk).update(**{field: name})

    def swap(self) -> None:
        model, field = self.rnd.choice(((Role, "name"), (PermissionGroup, "name"), (Permission, "code")))
        rows = list(model.objects.filter(realm=self.realm).order_by("?")[:2])
        if len(rows) == 2:
            first, second = (getattr(row, field) for row in rows)
            for row, name in ((rows[0], "tmp:1"), (rows[1], first), (rows[0], second)):
                model.objects.filter(pk=row.pk).update(**{field: name})

    def change(self) -> None:
        row, _, _ = self.noun()
        if isinstance(row, Role):
            row.obligations = [{"id": f"o{self.rnd.randrange(3)}", "type": "log"}]
            row.valid_from = self.rnd.choice((None, dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
            row.title = unique("title")
        elif isinstance(row, Permission):
            row.critical, row.high_risk = self.rnd.random() < 0.5, self.rnd.random() < 0.5
        else:
            row.title = unique("title")
        row.save()

    def line(self) -> None:
        if self.rnd.random() < 0.5:
            pattern = self.rnd.choice(PATTERNS)
            condition = self.rnd.choice(("", "context.mfa"))
            RoleLine.objects.create(
                role=self.role(), effect=self.rnd.choice(("allow", "deny")), pattern=pattern, condition=condition
            )
        else:
            GroupLine.objects.create(group=self.group(), pattern=self.rnd.choice(PATTERNS))

    def edge(self) -> None:
        match self.rnd.randrange(3):
            case 0:
                RoleInheritance.objects.create(role=self.role(), parent=self.role())
            case 1:
                RoleGroup.objects.create(role=self.role(), group=self.group())
            case _:
                PermissionRequirement.objects.create(permission=self.permission(), required=self.permission())

    def cut(self) -> None:
        """A line or an edge goes, or is handed to another owner."""
        model, owner = self.rnd.choice(
            (
                (RoleLine, "role"),
                (GroupLine, "group"),
                (RoleInheritance, "role"),
                (RoleGroup, "role"),
                (PermissionRequirement, "permission"),
            )
        )
        row = model.objects.filter(**{f"{owner}__realm": self.realm}).order_by("?").first()
        if row is not None and self.rnd.random() < 0.5:
            row.delete()
        elif row is not None:
            setattr(row, owner, getattr(self, owner)())
            row.save()

    def bind(self) -> None:
        scope = self.any_of(Resource) or Resource.objects.create(realm=self.realm, ref=f"srv:{self.rnd.randrange(3)}")
        given: dict[str, Any] = {"role": self.role()} if self.rnd.random() < 0.6 else {"allow": [self.rnd.choice(PATTERNS)]}
        RoleBinding.objects.create(
            realm=self.realm, subject=self.everyone(), scope=scope if self.rnd.random() < 0.5 else None, **given
        )

    def rebind(self) -> None:
        row = self.any_of(RoleBinding)
        if row is None:
            return
        match self.rnd.randrange(3):
            case 0:
                row.delete()
            case 1:
                user = Subject.objects.get_or_create(realm=self.realm, ref="user:bob", kind="subject")[0]
                row.subject = self.rnd.choice((user, self.everyone()))
                row.save()
            case _:
                row.condition = self.rnd.choice(("", "context.mfa"))
                row.save()

    def move_holder_or_scope(self) -> None:
        match self.rnd.randrange(3):
            case 0:
                Subject.objects.filter(pk=self.everyone().pk).update(ref=self.rnd.choice(HOLDERS))
            case 1:
                self.everyone().delete()
            case _:
                node = self.any_of(Resource)
                if node is not None:
                    Resource.objects.filter(pk=node.pk).update(ref=f"srv:{self.rnd.randrange(4)}")

    def settings(self) -> None:
        Realm.objects.filter(pk=self.realm.pk).update(
            combining=self.rnd.choice(("deny_overrides", "overlay")),
            unknown_subjects=self.rnd.choice(("deny", "everyone")),
            suspended=self.rnd.random() < 0.3,
            resource_types={"doc": {"combining": self.rnd.choice(("deny_overrides", "overlay"))}},
        )

    def take_its_place(self) -> None:
        """Another row under the same key: whatever refers to the key, now refers to another name."""
        row, field, name = self.noun()
        values = {f.column: getattr(row, f.attname) for f in row._meta.local_concrete_fields}
        values[field] = name
        if "obligations" in values:
            values["obligations"] = "[]"
        columns, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        table = row._meta.db_table
        with connection.cursor() as cursor:
            verb = "INSERT INTO"
            if connection.vendor == "sqlite" and self.rnd.random() < 0.5:
                verb = "REPLACE INTO"
            else:
                cursor.execute(f"DELETE FROM {table} WHERE id = %s", [row.pk])
            cursor.execute(f"{verb} {table} ({columns}) VALUES ({marks})", list(values.values()))

    def move_key(self) -> None:
        """Two rows exchange their keys, and so what refers to them."""
        row, field, _ = self.noun()
        other = type(row).objects.create(realm=self.realm, **{field: unique("doc:next")})
        for key, new in ((row.pk, other.pk + 1_000_000), (other.pk, row.pk), (other.pk + 1_000_000, other.pk)):
            type(row).objects.filter(pk=key).update(id=new)

    def by_a_service(self) -> None:
        lines = tuple(CodeSpec(p) for p in self.rnd.sample(PATTERNS[:4], 2))
        given: dict[str, Any] = {"actor": SYSTEM, "realm": self.realm}
        match self.rnd.randrange(6):
            case 0:
                catalog.role_create(spec=RoleSpec(self.name(), permissions=lines), **given)
            case 1:
                spec = RoleSpec(self.name(), permissions=lines, inherits=(self.role().name,), groups=(self.group().name,))
                catalog.role_update(name=self.role().name, spec=spec, **given)
            case 2:
                catalog.group_update(name=self.group().name, spec=GroupSpec(self.name(), permissions=PATTERNS[2:4]), **given)
            case 3:
                spec_ = PermissionSpec(self.rnd.choice(CODES), requires=(self.permission().code,), critical=True)
                catalog.permission_update(code=self.permission().code, spec=spec_, **given)
            case 4:
                catalog.role_delete(name=self.role().name, **given)
            case _:
                catalog.permission_delete(code=self.permission().code, **given)

    def work(self) -> Callable[[], None]:
        return self.rnd.choice(
            (
                self.create,
                self.create,
                self.register,
                self.register,
                self.create_elsewhere,
                self.delete,
                self.rename,
                self.rename,
                self.swap,
                self.change,
                self.line,
                self.line,
                self.edge,
                self.edge,
                self.edge,
                self.cut,
                self.bind,
                self.rebind,
                self.move_holder_or_scope,
                self.settings,
                self.take_its_place,
                self.move_key,
                self.by_a_service,
                self.by_a_service,
            )
        )

    def write(self) -> list[str]:
        """One commit, or none where the database or a service refuses; what was done, in words."""
        done: list[str] = []
        works = [self.work() for _ in range(self.rnd.choice((1, 1, 2, 4)))]
        try:
            if self.rnd.random() < 0.6:
                with permission_write(self.realm.name, SYSTEM):
                    self._all(works, done)
            else:
                with transaction.atomic():
                    self._all(works, done)
        except (IntegrityError, Conflict, Invalid, NotFound) as error:
            return [*done, f"refused: {error}"]
        self.made += 1
        return done

    @staticmethod
    def _all(works: list[Callable[[], None]], done: list[str]) -> None:
        for work in works:
            done.append(work.__name__)
            work()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.timeout(300)
def test_a_followed_model_equals_one_read_whole_after_every_write(seed: int) -> None:
    follower = Follower()
    writer = Writer(follower.realm, random.Random(f"delta/{seed}"))
    for step in range(STEPS):
        done = writer.write()
        names = follower.names()
        assert follower.follow() == follower.read(), f"step {step}: {done}, the changelog names {names}"
    assert writer.made > STEPS // 3


def test_a_name_may_be_a_roles_and_a_groups_and_a_codes_at_once(follower: Follower) -> None:
    for model, field in ((Role, "name"), (PermissionGroup, "name"), (Permission, "code")):
        model.objects.create(realm=follower.realm, **{field: "doc:read"})
    assert follower.names() == {"doc:read"}
    facts = follower.follow()
    assert facts == follower.read()
    assert facts.roles[0].name == facts.groups[0].name == facts.permissions[0].code == "doc:read"


def test_a_realms_name_may_be_a_roles_too() -> None:
    follower = Follower(unique("twofold"))
    Role.objects.create(realm=follower.realm, name=follower.realm.name)
    Realm.objects.filter(pk=follower.realm.pk).update(suspended=True)
    facts = follower.follow()
    assert facts == follower.read()
    assert facts.suspended and facts.roles


def test_what_a_change_leaves_alone_stays_the_same_object(follower: Follower) -> None:
    for name in ("one", "two", "three"):
        RoleLine.objects.create(role=Role.objects.create(realm=follower.realm, name=name), pattern="doc:*")
    before = follower.follow()
    RoleLine.objects.create(role=Role.objects.get(realm=follower.realm, name="two"), pattern="doc:read")
    after = follower.follow()
    kept = {fact.name for fact in after.roles if any(fact is old for old in before.roles)}
    assert kept == {"one", "three"}
    assert after.permissions is before.permissions and after.groups is before.groups and after.everyone is before.everyone


def test_a_change_of_nothing_that_is_compiled_gives_the_very_same_model(follower: Follower) -> None:
    role = Role.objects.create(realm=follower.realm, name="titled")
    before = follower.follow()
    Role.objects.filter(pk=role.pk).update(title="another")
    assert follower.names() == {"titled"}
    assert follower.follow() is before


def test_names_that_nobody_bears_change_nothing(follower: Follower) -> None:
    before = follower.follow()
    assert selectors.model_delta(follower.realm.pk, ["", "nobody", "no:code", "no:*", "a" * 600, "%", "'"], before) is before
    assert selectors.model_delta(follower.realm.pk, [], before) is before


def test_more_names_than_a_statement_takes_are_read_whole(follower: Follower) -> None:
    before = follower.follow()
    Role.objects.create(realm=follower.realm, name="new")
    names = ["new", *(f"name{n}" for n in range(selectors.PART))]
    with CaptureQueriesContext(connection) as queries:
        facts = selectors.model_delta(follower.realm.pk, names, before)
    assert facts == follower.read()
    assert len(queries) <= 11


def test_a_changed_role_is_read_in_five_statements_whatever_the_size_of_the_realm(follower: Follower) -> None:
    roles = [Role(realm=follower.realm, name=f"role{n}") for n in range(30)]
    Role.objects.bulk_create(roles)
    RoleLine.objects.bulk_create([RoleLine(role=role, pattern="doc:*") for role in roles])
    before = follower.follow()
    RoleLine.objects.create(role=roles[7], pattern="doc:read")
    with CaptureQueriesContext(connection) as queries:
        assert selectors.model_delta(follower.realm.pk, ["role7"], before) != before
    assert len(queries) == 5
    with CaptureQueriesContext(connection) as queries:
        selectors.model_facts(follower.realm)
    assert len(queries) == 9
