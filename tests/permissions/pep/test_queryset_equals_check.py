"""The queryset filter lists exactly the rows for which a check says yes and no duty is left: random worlds, every kind of key."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from permissions import pdp
from permissions.bundle.reader import read
from permissions.entities import NamelessError, resource_of
from permissions.pep import queryset
from permissions.pep.queryset import permitted
from permissions.services.bundles import bundle_apply
from permissions.writing import SYSTEM
from tests.permissions.pep.rows import Blog, Doc, Draft, Entry, Message, Note, Post

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("rows"), pytest.mark.timeout(240)]

DOCS = [UUID(int=n << 100 | 7) for n in range(1, 6)]
# What a text key may hold: what no question can be about (illegal), what other databases would take for another.
NOTES = ["a", "A", "b/1", "b/2", "ä", "日本", "*", "", " a", "a ", "a\u0301", "a\tb", "a\u00a0", "x" * 590, "a:b", "07", "7"]
LEGAL_NOTES = ["a", "A", "b/1", "b/2", "ä", "日本", "a:b", "7"]
KINDS = ("post", "doc", "note", "channel")
CODES = ("post:view", "post:edit", "doc:view", "any:open")
CONDITIONS = (
    "context.mfa == true",
    "resource.attributes.owner == subject.ref",
    'resource.id == "2"',
    'resource.ref.endsWith("1")',
    'resource.type == "post"',
    "resource.attributes.open != true",
    'subject.id == "alice" || "resource" == "x"',
    "context.gone == 1",
)
PATTERNS = (*CODES, "post:*", "*", "*:view", "doc:*")
# Types of obligations, and what callers comply with.
DUTIES = ("log", "mask")
HANDLED = ((), ("log",), ("mask", "log"))
SUBJECTS = ("user:alice", "user:bob", "user:root", "user:nobody")


class World:
    """A realm over the rows: some stored, in a small tree, others unknown to the platform."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd
        self.nodes: list[str] = []

    def chance(self, odds: float) -> bool:
        return self.rnd.random() < odds

    def bundle(self) -> dict[str, Any]:
        rnd = self.rnd
        resources = [self.resource(f"blog:{n}") for n in (1, 2, 3)]
        refs = [f"post:{n}" for n in range(1, 9)] + [f"doc:{one}" for one in DOCS] + [f"note:{key}" for key in LEGAL_NOTES]
        refs += [f"channel:{n}" for n in (1, 2, 3)] + ["post:07", "post:x", "post:-1", "post:99999999999999999999", "doc:1"]
        rnd.shuffle(refs)
        resources += [self.resource(ref) for ref in refs if self.chance(0.7)]
        kinds = {kind: {"combining": rnd.choice(("overlay", "deny_overrides"))} for kind in KINDS if self.chance(0.2)}
        return {
            "version": 1,
            "realm": "default",
            "combining": "overlay" if self.chance(0.4) else "deny_overrides",
            "resource_types": kinds,
            "unknown_subjects": "everyone" if self.chance(0.3) else "deny",
            "permissions": [{"code": code, **({"requires": ["any:open"]} if self.chance(0.15) else {})} for code in CODES[:3]]
            + [{"code": CODES[3]}],
            "roles": [self.role(name) for name in ("one", "two")],
            "subjects": [{"id": ref} for ref in SUBJECTS[:3]],
            "teams": [{"id": "team:x", "members": [ref for ref in SUBJECTS[:2] if self.chance(0.6)]}],
            "resources": resources,
            "bindings": [self.binding() for _ in range(rnd.randrange(1, 8))],
        }

    def resource(self, ref: str) -> dict[str, Any]:
        found: dict[str, Any] = {"id": ref}
        if self.nodes and self.chance(0.7):
            found["parent"] = self.rnd.choice(self.nodes)
        if self.chance(0.15):
            found["inherit"] = False
        if self.chance(0.4):
            found["attributes"] = {"owner": self.rnd.choice(SUBJECTS), "open": self.chance(0.5)}
        self.nodes.append(ref)
        return found

    def role(self, name: str) -> dict[str, Any]:
        lines = [self.line() for _ in range(self.rnd.randrange(1, 3))]
        denied = {"deny": [self.rnd.choice(PATTERNS)]} if self.chance(0.2) else {}
        return {"name": name, "permissions": lines, **denied, **self.duties()}

    def duties(self) -> dict[str, Any]:
        if not self.chance(0.2):
            return {}
        return {"obligations": [{"id": one, "type": one} for one in DUTIES if self.chance(0.6)]}

    def line(self) -> Any:
        code = self.rnd.choice(PATTERNS)
        return {"code": code, "condition": self.rnd.choice(CONDITIONS)} if self.chance(0.15) else code

    def binding(self) -> dict[str, Any]:
        rnd = self.rnd
        found: dict[str, Any] = {"subject": rnd.choice(("user:alice", "user:bob", "user:root", "team:x", "user:*"))}
        if self.chance(0.6):
            found["role"] = rnd.choice(("one", "two"))
        elif self.chance(0.6):
            found["allow"] = [rnd.choice(PATTERNS)]
        else:
            found["deny"] = [rnd.choice(PATTERNS)]
        if self.chance(0.65):
            found["scope"] = rnd.choice(self.nodes)
        if self.chance(0.15):
            found["condition"] = rnd.choice(CONDITIONS)
        if self.chance(0.15):
            found["propagate"] = False
        return found if "deny" in found else {**found, **self.duties()}


def apply(bundle: dict[str, Any]) -> None:
    bundle_apply(actor=SYSTEM, bundle=read(json.dumps(bundle), name="world.json"), realm_name=None, prune=True, dry_run=False)


@pytest.fixture
def people(rows: None) -> dict[str, Any]:
    blogs = [Blog._default_manager.create(slug=slug) for slug in ("a", "b", "7")]
    Post.objects.bulk_create([Post(pk=n, title=f"p{n}", blog=blogs[n % 3]) for n in range(1, 11)])
    Doc.objects.bulk_create([Doc(pk=one) for one in DOCS])
    Note.objects.bulk_create([Note(pk=key) for key in NOTES])
    Message.objects.bulk_create([Message(channel=n) for n in (1, 2, 3, 4, None)])
    Entry.objects.bulk_create([Entry(blog=blog, number=n) for blog in (*blogs[:2], None) for n in (1, 2)])
    return {
        "alice": User.objects.create_user("alice"),
        "bob": User.objects.create_user("bob"),
        "root": User.objects.create_superuser("root"),
    }


def listed_by_check(
    rows: Any, who: str, code: str, context: dict[str, Any], handled: Sequence[str], *, superuser: bool
) -> list[Any]:
    asked = []
    for row in rows:
        try:
            asked.append((row, pdp.question(who, code, resource_of(row), context=context)))
        except NamelessError:  # a question that cannot be asked is answered no
            continue
    decisions = pdp.decide_many([question for _, question in asked], superuser=superuser, full=True)
    return [
        row
        for (row, _), decision in zip(asked, decisions, strict=True)
        if decision and all(duty["type"] in handled for duty in decision.obligations)
    ]


def compare(people: dict[str, Any], rnd: random.Random, codes: Sequence[str] = CODES) -> tuple[int, int]:
    """How many rows were compared, and how many of them are allowed."""
    compared = allowed = 0
    for code in codes:
        for who in SUBJECTS:
            context = {"mfa": True} if rnd.random() < 0.5 else {}
            handled = rnd.choice(HANDLED)
            account = people.get(who.removeprefix("user:"))
            user = account if account is not None and rnd.random() < 0.5 else who
            for model in (Post, Draft, Doc, Note, Message, Entry):
                everything = model.objects.order_by("pk")
                expected = listed_by_check(everything, who, code, context, handled, superuser=not isinstance(user, str))
                found = permitted(everything, user, code, context=context, full=True, obligations=handled)
                assert list(found) == expected, (model.__name__, who, code, context, handled, str(found.query))
                assert found.count() == len(expected)
                compared += len(everything)
                allowed += len(expected)
    return compared, allowed


# The refs in the query, and as a subquery: nothing is few enough to be listed.
@pytest.mark.parametrize("most", [1_000, 0])
@pytest.mark.parametrize("part", range(2))
def test_every_row_in_random_worlds(part: int, most: int, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queryset, "MOST_LISTED", most)
    compared = allowed = 0
    for seed in range(part * 3, part * 3 + 3):
        rnd = random.Random(f"queryset {seed}")
        apply(World(rnd).bundle())
        rows, yes = compare(people, rnd)
        compared += rows
        allowed += yes
    assert compared > 500
    assert 0.1 < allowed / compared < 0.9, "a world in which everything, or nothing, is allowed proves little"


def test_every_row_inside_the_transaction_that_wrote_it(people: dict[str, Any]) -> None:
    rnd = random.Random("inside")
    with transaction.atomic():
        apply(World(rnd).bundle())
        compare(people, rnd, CODES[:1])
        transaction.set_rollback(True)
