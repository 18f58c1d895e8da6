"""PermissionBackend: Django's ModelBackend, that also asks the PDP. `user.has_perm("post:edit", post)` in any Django code.

What Django's own tables give is one more source of grants: the union of both is held. What the law puts before grants (a locked
or inactive subject, a suspended realm, a deny, an error in a condition) stops those too. Nothing of the PDP is kept on the user
object, so a revoke reaches an instance at once; Django's own part is cached there by Django, as its contract says.

A bool cannot carry an obligation, so what is allowed with one is a no here. No decision (the PDP is away, maintenance) is a no,
and logged: templates and admin pages ask this.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from itertools import islice
from typing import Any, Final, Literal

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission
from django.db.models import BooleanField, Expression, F, Q, QuerySet, TextField
from django.db.models.functions import Cast

from permissions import conf, pdp
from permissions.engine import reasons
from permissions.engine.types import Decision, Request
from permissions.entities import NamelessError, code_of, realm_of, resource_of, spellings, subject_of
from permissions.errors import Refused
from permissions.lookup import below
from permissions.pep import decisions, freshness

log = logging.getLogger("permissions.pep")

# Before any grant, whoever gives it (semantics, "Order of a decision", 3 to 5). An error may be a deny's.
STOPS: Final = frozenset(
    {
        reasons.SUBJECT_INACTIVE,
        reasons.REALM_SUSPENDED,
        reasons.EXPLICIT_DENY,
        reasons.CONDITION_ERROR,
        reasons.POLICY_DENIED,
        reasons.POLICY_ERROR,
    }
)
FAULTS: Final = (pdp.Unavailable, pdp.InvalidRequestError, Refused)


class PermissionBackend(ModelBackend):
    def has_perm(self, user_obj: Any, perm: Any, obj: Any = None) -> bool:
        if not user_obj.is_active or user_obj.pk is None:
            return False
        asked = _asked(user_obj, perm, obj)
        if asked is None:
            return perm in self._django(user_obj, obj)
        try:
            decision = decisions.decide(asked[0], realm=asked[1], fresh=freshness.forgiving())
        except FAULTS as error:
            return _no_decision(error) and perm in self._django(user_obj, obj)
        return _says_yes(decision) or (decision.reason not in STOPS and perm in self._django(user_obj, obj))

    async def ahas_perm(self, user_obj: Any, perm: Any, obj: Any = None) -> bool:
        if not user_obj.is_active or user_obj.pk is None:
            return False
        asked = _asked(user_obj, perm, obj)
        if asked is None:
            return perm in await self._adjango(user_obj, obj)
        try:
            decision = await decisions.adecide(asked[0], realm=asked[1], fresh=freshness.forgiving())
        except FAULTS as error:
            return _no_decision(error) and perm in await self._adjango(user_obj, obj)
        return _says_yes(decision) or (decision.reason not in STOPS and perm in await self._adjango(user_obj, obj))

    # The sets

    def get_user_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return _both(user_obj, obj, super().get_user_permissions(user_obj, obj), "own")

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return _both(user_obj, obj, super().get_group_permissions(user_obj, obj), "others")

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return _both(user_obj, obj, self._django(user_obj, obj), "")

    async def aget_user_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return await _aboth(user_obj, obj, await super().aget_user_permissions(user_obj, obj), "own")

    async def aget_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return await _aboth(user_obj, obj, await super().aget_group_permissions(user_obj, obj), "others")

    async def aget_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return await _aboth(user_obj, obj, await self._adjango(user_obj, obj), "")

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return bool(user_obj.is_active) and bool(_both(user_obj, None, self._of_app(user_obj, app_label), "", app_label))

    async def ahas_module_perms(self, user_obj: Any, app_label: str) -> bool:
        django = {perm for perm in await self._adjango(user_obj, None) if perm.partition(".")[0] == app_label}
        return bool(user_obj.is_active) and bool(await _aboth(user_obj, None, django, "", app_label))

    def _of_app(self, user_obj: Any, app_label: str) -> set[str]:
        return {perm for perm in self._django(user_obj, None) if perm.partition(".")[0] == app_label}

    def _django(self, user_obj: Any, obj: Any) -> set[str]:
        """What Django's tables give. Not by get_all_permissions(), which would keep the PDP's part on the user as well."""
        return {*super().get_user_permissions(user_obj, obj), *super().get_group_permissions(user_obj, obj)}

    async def _adjango(self, user_obj: Any, obj: Any) -> set[str]:
        own = await super().aget_user_permissions(user_obj, obj)
        return {*own, *await super().aget_group_permissions(user_obj, obj)}

    def with_perm(
        self, perm: Any, is_active: bool | None = True, include_superusers: bool = True, obj: Any = None
    ) -> QuerySet[Any]:
        """Users who hold it, with obligations or without. Raises what who_can raises: a list that may be cut short is none."""
        users = get_user_model()._default_manager
        django = users.none()
        if not isinstance(perm, str) or ":" not in perm:
            django = super().with_perm(perm, is_active=None, include_superusers=False, obj=obj)  # type: ignore[arg-type]  # as Django documents it
        code = code_of(f"{perm.content_type.app_label}.{perm.codename}" if isinstance(perm, Permission) else perm)
        attribute, realm = conf.subject_attribute(), conf.django_realm()
        held = Q(pk__in=django.values("pk"))
        try:
            resource = None if obj is None else resource_of(obj)
            allowed = pdp.who_can(code, resource, type="user", realm=realm)
            held &= ~Q(Among(attribute, _stopped(django, code, realm)))
            held |= Q(Among(attribute, [ref.partition(":")[2] for ref in allowed]))
        except (NamelessError, pdp.InvalidRequestError) as error:
            log.info("with_perm asks Django's tables alone: %s", error)
        if include_superusers:
            held |= Q(is_superuser=True)
        if is_active is not None:
            held &= Q(is_active=is_active)
        return users.filter(held)


class Among(Expression):
    """Whether a column's text is one of many, all in one parameter."""

    conditional = True

    def __init__(self, column: str, names: list[str]) -> None:
        super().__init__(output_field=BooleanField())
        self.column: Any = Cast(F(column), TextField())
        self.names = names

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def get_source_expressions(self) -> list[Any]:
        return [self.column]

    def set_source_expressions(self, exprs: Any) -> None:
        (self.column,) = exprs

    def as_sql(self, compiler: Any, connection: Any, **_extra: Any) -> Any:
        text, params = compiler.compile(self.column)
        wanted = below.texts(connection.vendor, self.names)
        return f"{text} IN {wanted.text}", [*params, *wanted.params]


def _asked(user_obj: Any, perm: object, obj: object) -> tuple[Request, str] | None:
    """The question and its realm; None where the PDP cannot be asked, and Django's tables alone count."""
    subject, realm = subject_of(user_obj), realm_of(user_obj, None)
    if subject is None or realm is None or not isinstance(perm, str):
        return None
    try:
        return pdp.question(subject, code_of(perm), None if obj is None else resource_of(obj)), realm
    except (NamelessError, pdp.InvalidRequestError):
        return None


def _says_yes(decision: Decision) -> bool:
    return decision.allowed and not decision.obligations


def _no_decision(error: Exception) -> bool:
    """Whether Django's tables count without the PDP: not while it is away, for it might have said no."""
    if isinstance(error, pdp.Unavailable):
        log.warning("a permission was denied because no decision can be given: %s", error)
        return False
    log.error("the PDP could not be asked: %s", error)
    return True


def _both(user_obj: Any, obj: Any, django: set[str], part: Literal["own", "others", ""], kind: str = "") -> set[str]:
    """Django's part of a set without what is stopped, and the PDP's: all of it, or what comes one way."""
    if not user_obj.is_active or user_obj.is_anonymous or user_obj.is_superuser:
        return django  # a superuser's set is the whole table, as Django's contract has it
    asked = _asked(user_obj, "any:any", obj)
    if asked is None:
        return django
    question, realm = asked
    fresh = freshness.forgiving()
    try:
        kept = django - _stopped_perms(question, realm, django) if django else django
        if part:
            codes: set[str] = getattr(pdp.held_apart(question, realm=realm, full=fresh.full or fresh.token is not None), part)
        else:
            codes = pdp.held(question, realm=realm, kind=kind, full=fresh.full or fresh.token is not None)
    except FAULTS as error:
        return set(django) if _no_decision(error) else set()
    return kept | {spelling for code in codes for spelling in spellings(code)}


_aboth = pdp.in_thread(_both)


def _stopped_perms(question: Request, realm: str, perms: Collection[str]) -> set[str]:
    """Those of Django's that the law takes away."""
    asked = []
    for perm in perms:
        try:
            asked.append((perm, pdp.question(question.subject, code_of(perm), question.resource)))
        except pdp.InvalidRequestError:
            continue
    found: set[str] = set()
    for start in range(0, len(asked), pdp.MAX_BATCH):
        batch = asked[start : start + pdp.MAX_BATCH]
        decisions_made = pdp.decide_many([request for _, request in batch], realm=realm)
        found.update(perm for (perm, _), decision in zip(batch, decisions_made, strict=True) if decision.reason in STOPS)
    return found


def _stopped(users: QuerySet[Any], code: str, realm: str) -> list[str]:
    """Names of those from whom the law takes the code away. That an account is inactive is Django's to judge."""
    found = []
    rows = users.values_list(conf.subject_attribute(), "is_active").iterator(chunk_size=pdp.MAX_BATCH)
    while part := list(islice(rows, pdp.MAX_BATCH)):
        asked = []
        for name, is_active in part:
            try:
                asked.append((str(name), is_active, pdp.question(f"user:{name}", code)))
            except pdp.InvalidRequestError:
                continue
        decisions_made = pdp.decide_many([request for _, _, request in asked], realm=realm)
        for (name, is_active, _), decision in zip(asked, decisions_made, strict=True):
            if decision.reason in STOPS and (is_active or decision.reason != reasons.SUBJECT_INACTIVE):
                found.append(name)
    return found
