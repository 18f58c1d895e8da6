"""What a day of the demo asks: questions about the world it was told of, in a realistic mixture, and how busy each hour is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

# A day passes in so many seconds, so that whoever watches for some minutes sees morning, noon and night.
DAY_S: Final = 120.0
NIGHT: Final = 0.25
# Names of what the load makes for itself; it takes both away again.
ROLE: Final = "demo.load"
REASON: Final = "demo_load"
# Bindings of its own that it leaves standing at a time: enough for some of its subjects to gain something.
MOST_BINDINGS: Final = 6
# Share of questions that were answered yes before: applications mostly ask what people may do, and show no button else.
HABIT: Final = 0.8
MOST_HABITS: Final = 500
# Shares of the mixture, of a thousand calls.
_MIX: Final = (
    ("evaluation", 540),
    ("check", 270),
    ("batch", 80),
    ("unknown", 30),
    ("explain", 25),
    ("search_subject", 15),
    ("search_action", 15),
    ("search_resource", 15),
    ("list", 10),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `counts`: the name under which it is counted."""

    counts: str
    method: str
    path: str
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class World:
    """Of the realm: who may ask (the busy ones first), what may be asked, and where."""

    subjects: Sequence[str]
    codes: Sequence[str]
    resources: Sequence[str]


@dataclass(slots=True)
class Day:
    """Draws calls. `bindings`: numbers of those of its own that stand; `habits`: questions that were answered yes, as the plain
    API has them. The caller keeps both."""

    world: World
    chance: random.Random
    habits: list[dict[str, Any]] = field(default_factory=list)
    bindings: list[int] = field(default_factory=list)
    _turn: int = 0

    def call(self) -> Call:
        kind = self.chance.choices([name for name, _ in _MIX], [share for _, share in _MIX])[0]
        make: Callable[[], Call] = getattr(self, f"_{kind}")
        return make()

    def change(self) -> Call:
        """A write: a binding comes or goes; now and then the role's lines change, so that all caches of the realm breathe."""
        self._turn += 1
        if self._turn % 5 == 0:
            return Call("role", "PUT", f"/api/v1/roles/{ROLE}/?reason={REASON}", role_line(self.chance, self.world))
        if self.bindings and (len(self.bindings) >= MOST_BINDINGS or self.chance.random() < 0.4):
            number = self.bindings.pop(0)
            return Call("unbind", "DELETE", f"/api/v1/bindings/{number}/?reason={REASON}")
        line = {"subject": self._subject(), "role": ROLE, "scope": self._resource(), "reason": REASON}
        return Call("bind", "POST", f"/api/v1/bindings/?reason={REASON}", line)

    def _subject(self) -> str:
        return _popular(self.chance, self.world.subjects)

    def _code(self) -> str:
        return _popular(self.chance, self.world.codes)

    def _own_code(self) -> str:
        """One that AuthZEN can ask for: there the code is `<type of the resource>:<action>`."""
        kinds = {ref.partition(":")[0] for ref in self.world.resources}
        own = [code for code in self.world.codes if code.partition(":")[0] in kinds]
        return _popular(self.chance, own or self.world.codes)

    def _resource(self) -> str:
        return _popular(self.chance, self.world.resources)

    def _place_of(self, code: str) -> str:
        """Mostly a resource of the code's own type: what an application would ask."""
        own = [ref for ref in self.world.resources if ref.startswith(code.partition(":")[0] + ":")]
        return self.chance.choice(own) if own else self._resource()

    def questions(self, number: int) -> list[dict[str, Any]]:
        """Any that come to mind, for the habits to begin with."""
        return [self._any() for _ in range(number)]

    def _any(self) -> dict[str, Any]:
        code = self._own_code() if self.chance.random() < 0.6 else self._code()
        body: dict[str, Any] = {"subject": self._subject(), "permission": code, "resource": self._place_of(code)}
        if self.chance.random() < 0.3:
            body["context"] = {"mfa": self.chance.random() < 0.5, "branch": self.chance.choice(["main", "feature"])}
        return body

    def _question(self) -> dict[str, Any]:
        return self.chance.choice(self.habits) if self.habits and self.chance.random() < HABIT else self._any()

    def _wire(self, subject: str = "") -> dict[str, Any]:
        """As AuthZEN asks, of codes that it can ask for."""
        asked = self._question()
        if not asked["resource"].startswith(asked["permission"].partition(":")[0] + ":"):
            code = self._own_code()
            asked = {**asked, "permission": code, "resource": self._place_of(code)}
        body = {
            "subject": _entity(subject or asked["subject"]),
            "action": _action(asked["permission"]),
            "resource": _entity(asked["resource"]),
        }
        return {**body, "context": asked["context"]} if "context" in asked else body

    def _evaluation(self) -> Call:
        return Call("evaluation", "POST", "/access/v1/evaluation", self._wire())

    def _unknown(self) -> Call:
        """Somebody the realm has never heard of; a few thousand of them, as a crawler would bring."""
        return Call("unknown", "POST", "/access/v1/evaluation", self._wire(f"user:stranger-{self.chance.randrange(5_000)}"))

    def _check(self) -> Call:
        return Call("check", "POST", "/api/v1/check", self._question())

    def _batch(self) -> Call:
        items = [self._wire() for _ in range(self.chance.randint(3, 20))]
        return Call("batch", "POST", "/access/v1/evaluations", {"evaluations": items})

    def _explain(self) -> Call:
        return Call("explain", "POST", "/api/v1/explain", self._question())

    def _search_subject(self) -> Call:
        code = self._own_code()
        resource = self._place_of(code)
        body = {"subject": {"type": "user"}, "action": _action(code), "resource": _entity(resource)}
        return Call("search", "POST", "/access/v1/search/subject", body)

    def _search_action(self) -> Call:
        body = {"subject": _entity(self._subject()), "resource": _entity(self._resource())}
        return Call("search", "POST", "/access/v1/search/action", body)

    def _search_resource(self) -> Call:
        code = self._own_code()
        resource = self._place_of(code)
        kind = resource.partition(":")[0]
        body = {"subject": _entity(self._subject()), "action": _action(code), "resource": {"type": kind}}
        return Call("search", "POST", "/access/v1/search/resource", body)

    def _list(self) -> Call:
        return Call("list", "GET", f"/api/v1/bindings/?limit=20&subject={quote(self._subject(), safe='')}")


def role_line(chance: random.Random, world: World) -> dict[str, Any]:
    """The load's own role: a handful of codes that are not the platform's."""
    codes = [code for code in world.codes if not code.startswith("permsite.")]
    chosen = chance.sample(codes, min(len(codes), chance.randint(1, 4)))
    return {"name": ROLE, "title": "Made by demo_load", "permissions": sorted(chosen)}


def busy(elapsed_s: float) -> float:
    """How busy the hour is, from NIGHT to 1: night, a steep morning, a dip at noon, a long afternoon."""
    hour = elapsed_s / DAY_S * 24 % 24 + 7  # it begins in the morning, when something happens
    morning = math.exp(-(((hour % 24 - 10.5) / 2.2) ** 2))
    afternoon = math.exp(-(((hour % 24 - 15.5) / 3.0) ** 2))
    return NIGHT + (1 - NIGHT) * min(1.0, max(morning, 0.9 * afternoon))


def _popular(chance: random.Random, items: Sequence[str]) -> str:
    """Few are asked about most of the time: the n-th about 1/n as often as the first."""
    place = int(len(items) ** chance.random()) - 1
    return items[max(0, min(place, len(items) - 1))]


def _entity(ref: str) -> dict[str, Any]:
    kind, _, ident = ref.partition(":")
    return {"type": kind, "id": ident}


def _action(code: str) -> dict[str, Any]:
    return {"name": code.partition(":")[2]}
