"""Realms drawn at random, as bundles: everything that a decision may rest on, over small alphabets, so that things collide."""

from __future__ import annotations

import json
import random
from typing import Any, Final

from permissions.bundle.reader import read
from permissions.engine.types import Asserted, Request
from permissions.services.bundles import bundle_apply
from permissions.writing import SYSTEM

USERS: Final = tuple(f"user:u{n}" for n in range(8))
# `User` and `us` begin as `user` does, for a database that ignores case or takes a prefix for a type.
OTHERS: Final = ("agent:a", "agent:b", "User:u1", "us:er")
TEAMS: Final = ("team:a", "team:b", "team:c", "group:d")
EVERYONE: Final = ("user:*", "agent:*", "team:*")
FOLDERS: Final = ("org:1", "folder:1", "folder:2", "folder:3")
DOCS: Final = tuple(f"doc:{n}" for n in range(9))
CODES: Final = ("doc:read", "doc:edit", "doc:edit:own", "doc:share", "folder:open", "org:run")
PATTERNS: Final = (*CODES, *CODES, "*", "doc:*", "doc:*:own", "doc:?dit", "folder:*", "*:open")
ROLES: Final = ("r1", "r2", "r3", "r4")
CONDITIONS: Final = (
    "context.mfa == true",
    "subject.attributes.level > 2",
    "resource.attributes.owner == subject.ref",
    "has(subject.attributes.level) && subject.attributes.level < 3",
    'permission == "doc:read"',
    "action.attributes.fast == true",
)
TYPES: Final = ("user", "agent", "User", "us", "team", "group", "spaceship")
KINDS: Final = ("doc", "folder", "org", "rocket")
PAST, FUTURE = "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"


class Drawn:
    """One realm, with questions to ask it."""

    def __init__(self, seed: int) -> None:
        self.rnd = random.Random(seed)
        self.name = f"world-{seed}"
        self.bundle = self._bundle()

    def store(self) -> None:
        bundle_apply(actor=SYSTEM, bundle=read(json.dumps(self.bundle), name="world.json"))

    def chance(self, odds: float) -> bool:
        return self.rnd.random() < odds

    def _some(self, texts: tuple[str, ...], most: int) -> list[str]:
        return sorted(set(self.rnd.choices(texts, k=self.rnd.randint(0, most))))

    def _window(self) -> dict[str, str]:
        return self.rnd.choice([{}] * 6 + [{"valid_until": PAST}, {"valid_from": FUTURE}, {"valid_from": PAST}])

    def _bundle(self) -> dict[str, Any]:
        chance, choice = self.chance, self.rnd.choice
        combining = ("deny_overrides", "overlay")
        return {
            "version": 1,
            "realm": self.name,
            "combining": choice(combining),
            "resource_types": {"doc": {"combining": choice(combining)}} if chance(0.3) else {},
            "unknown_subjects": choice(("deny", "everyone")),
            "settings": {"suspended": chance(0.04)},
            "permissions": [
                {"code": code, "requires": self._requires(code)} for code in CODES if chance(0.9) or code == "doc:read"
            ],
            "roles": [self._role(number, name) for number, name in enumerate(ROLES)],
            "subjects": [self._subject(ref) for ref in (*USERS, *OTHERS)],
            "teams": [self._team(number, ref) for number, ref in enumerate(TEAMS)],
            "resources": self._resources(),
            "bindings": [self._binding() for _ in range(choice((2, 6, 14)))],
        }

    def _requires(self, code: str) -> list[str]:
        return ["doc:read"] if code in ("doc:edit", "doc:share") and self.chance(0.3) else []

    def _role(self, number: int, name: str) -> dict[str, Any]:
        lines: list[Any] = []
        for pattern in self._some(PATTERNS, 3):
            lines.append({"code": pattern, "condition": self.rnd.choice(CONDITIONS)} if self.chance(0.3) else pattern)
        return {
            "name": name,
            "inherits": self._some(ROLES[number + 1 :], 1) if number + 1 < len(ROLES) else [],
            "permissions": lines,
            "exclude": self._some(PATTERNS, 1) if self.chance(0.2) else [],
            "deny": self._some(CODES, 1) if self.chance(0.25) else [],
            **(self._window() if self.chance(0.2) else {}),
        }

    def _subject(self, ref: str) -> dict[str, Any]:
        attributes = {"level": self.rnd.randint(1, 5)} if self.chance(0.6) else {}
        return {"id": ref, "active": self.chance(0.93), "locked": self.chance(0.07), "attributes": attributes}

    def _team(self, number: int, ref: str) -> dict[str, Any]:
        inside = (*USERS, *OTHERS[:2], *TEAMS[number + 1 :])
        return {"id": ref, "members": [{"id": member, **self._window()} for member in self._some(inside, 4)]}

    def _resources(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for ref in (*FOLDERS, *DOCS):
            above = [row["id"] for row in found if not row["id"].startswith("doc:") or self.chance(0.1)]
            row: dict[str, Any] = {"id": ref, "inherit": self.chance(0.85)}
            if above and self.chance(0.8):
                row["parent"] = self.rnd.choice(above)
            if self.chance(0.5):
                row["attributes"] = {"owner": self.rnd.choice(USERS)}
            found.append(row)
        return found

    def _binding(self) -> dict[str, Any]:
        holder = self.rnd.choice((*USERS, *USERS, *TEAMS, *TEAMS, *OTHERS, *EVERYONE))
        row: dict[str, Any] = {"subject": holder, **self._window()}
        if self.chance(0.65):
            row["role"] = self.rnd.choice(ROLES)
        else:
            row["allow"] = self._some(PATTERNS, 2)
            row["deny"] = self._some(CODES, 1) if self.chance(0.4) or not row["allow"] else []
            if not row["allow"] and not row["deny"]:
                row["allow"] = ["doc:read"]
        if self.chance(0.6):
            row["scope"] = self.rnd.choice((*FOLDERS, *FOLDERS, *DOCS))
        if self.chance(0.2):
            row["condition"] = self.rnd.choice(CONDITIONS)
        if self.chance(0.15):
            row["propagate"] = False
        return row

    def question(self) -> Request:
        """As a caller brings it: properties, asserted teams and an asserted parent by its key's rule."""
        asserted: Asserted = self.rnd.choice(("fill", "override", "ignore"))
        subject: dict[str, Any] = {"level": self.rnd.randint(1, 5)} if self.chance(0.4) else {}
        resource: dict[str, Any] = {"owner": self.rnd.choice(USERS)} if self.chance(0.4) else {}
        if self.chance(0.2):
            subject["teams"] = self._some((*TEAMS, "team:unseen", "a"), 2)
        if self.chance(0.2):
            resource["parent"] = self.rnd.choice(FOLDERS)
        return Request(
            self.rnd.choice((*USERS, *OTHERS, *TEAMS, "user:unseen")),
            self.rnd.choice((*CODES, "doc:never")),
            self.rnd.choice((*DOCS, *FOLDERS, "doc:unseen")),
            {"mfa": self.chance(0.5)} if self.chance(0.6) else {},
            subject,
            resource,
            {"fast": True} if self.chance(0.3) else {},
            asserted,
        )
