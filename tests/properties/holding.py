"""What must hold in every world, as functions that name the first thing that does not; run against seeded faults, too."""

# ruff: noqa: PLR0917 - all of them take one world with what was built of it

from __future__ import annotations

import dataclasses
import random
from types import ModuleType
from typing import Any, Protocol

from tests import reference
from tests.properties import worlds
from tests.properties.worlds import World

LANGUAGE = worlds.Language()


class Engine(Protocol):
    """The modules of `permissions.engine`, or of a copy of it."""

    compile: ModuleType
    scopes: ModuleType
    evaluate: ModuleType
    explain: ModuleType


def fault(engine: Any, world: World, rnd: random.Random) -> str:
    """The first difference between the engine and the law, in words; empty where there is none."""
    table = engine.compile.compile_table(world.model, LANGUAGE)
    resource = engine.scopes.build_resource(world.resource) if world.resource is not None else None
    subject = engine.scopes.build_subject(world.subject, world.now_us)
    for code in world.codes:
        asked = dataclasses.replace(world, request=dataclasses.replace(world.request, permission=code))
        difference = (
            _against_reference(engine, table, subject, resource, asked)
            or _until(engine, table, subject, resource, asked, rnd)
            or _explained(engine, table, subject, resource, asked)
        )
        if difference:
            return f"{code}: {difference}"
    return _shuffled(engine, world, rnd) or _all_codes(engine, table, subject, resource, world, rnd)


def _against_reference(engine: Any, table: Any, subject: Any, resource: Any, world: World) -> str:
    decision = engine.evaluate.evaluate(
        table, subject, resource, world.request, world.now_us, superuser_allowed=world.superuser_allowed
    )
    answer = reference.decide(
        world.model,
        world.subject,
        world.resource,
        world.request,
        world.now_us,
        worlds.ask,
        superuser_allowed=world.superuser_allowed,
    )
    if decision.allowed != answer.allowed:
        return f"the engine says {decision}, the reference {answer}"
    if reference.has_role_cycle(world.model):
        # A cycle, which no write lets in, can be passed again and again; which reasons and obligations that gives is left open.
        return ""
    if decision.reason != answer.reason or list(decision.obligations) != answer.obligations:
        return f"the engine says {decision}, the reference {answer}"
    return ""


def decide(engine: Any, world: World, now_us: int | None = None) -> Any:
    """A decision with everything built for the instant."""
    now_us = world.now_us if now_us is None else now_us
    return engine.evaluate.evaluate(
        engine.compile.compile_table(world.model, LANGUAGE),
        engine.scopes.build_subject(world.subject, now_us),
        engine.scopes.build_resource(world.resource) if world.resource is not None else None,
        world.request,
        now_us,
        superuser_allowed=world.superuser_allowed,
    )


def _shuffled(engine: Any, world: World, rnd: random.Random) -> str:
    first, second = decide(engine, world), decide(engine, worlds.shuffled(world, rnd))
    return "" if first == second else f"in another order of the rows {first} becomes {second}"


def _until(engine: Any, table: Any, subject: Any, resource: Any, world: World, rnd: random.Random) -> str:
    """Until its boundary a snapshot answers as a fresh one does."""
    until_us = worlds.LATEST + 3 if subject.until_us is None else subject.until_us
    if until_us <= world.now_us:
        return f"the boundary {until_us} lies not after {world.now_us}"
    later = rnd.randrange(world.now_us, until_us)
    options = {"superuser_allowed": world.superuser_allowed}
    kept = engine.evaluate.evaluate(table, subject, resource, world.request, later, **options)
    fresh_subject = engine.scopes.build_subject(world.subject, later)
    fresh = engine.evaluate.evaluate(table, fresh_subject, resource, world.request, later, **options)
    return "" if kept == fresh else f"at {later}, before the boundary {until_us}: {kept}, but freshly built {fresh}"


def _all_codes(engine: Any, table: Any, subject: Any, resource: Any, world: World, rnd: random.Random) -> str:
    options = {"superuser_allowed": world.superuser_allowed}
    listed = engine.evaluate.allowed_codes(table, subject, resource, world.request, world.now_us, **options)
    for code in (*rnd.sample(table.codes, 5), world.request.permission):
        request = dataclasses.replace(world.request, permission=code)
        decision = engine.evaluate.evaluate(table, subject, resource, request, world.now_us, **options)
        if table.is_registered(code) and decision.allowed != (code in listed):
            return f"{code} is {decision}, the list of allowed codes says {code in listed}"
    return ""


def _explained(engine: Any, table: Any, subject: Any, resource: Any, world: World) -> str:
    options = {"superuser_allowed": world.superuser_allowed}
    decision = engine.evaluate.evaluate(table, subject, resource, world.request, world.now_us, **options)
    explanation = engine.explain.explain(table, subject, resource, world.request, world.now_us, **options)
    if explanation.decision != decision:
        return f"explained as {explanation.decision}, decided as {decision}"
    deciding = [step for step in explanation.steps if step.decided]
    if decision.reason in ("granted", "explicit_deny") and not deciding:
        return f"{decision} without a step that decided"
    effect = "allow" if decision.allowed else "deny"
    if any(step.effect != effect or step.outcome not in ("holds", "condition_error") for step in deciding):
        return f"{decision} rests on {deciding}"
    if not decision.allowed and not explanation.nearest:
        return f"{decision} with nothing said about what is missing"
    return ""


def least(engine: Any, world: World, seed: str) -> World:
    """A world that goes wrong as well, from which nothing more can be taken."""
    shrinking = True
    while shrinking:
        shrinking = False
        for candidate in worlds.smaller(world):
            if fault(engine, candidate, random.Random(seed)):
                world, shrinking = candidate, True
                break
    return world
