"""Who is asking through the API: a person of a session or an API key, in which realm, and what they may be asked to prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request as HttpRequest

from permissions import conf, pdp, selectors
from permissions.engine import names
from permissions.engine.types import Asserted, Request
from permissions.errors import Forbidden, NotFound
from permissions.identity.keys import Caller
from permissions.models import Realm, RoleBinding
from permissions.writing import Actor
from resilience import trace

REALM: Final = "realm"  # the query parameter by which a person names a realm


@dataclass(frozen=True, slots=True)
class Asker:
    """`actor` None: a plain key, an enforcement point that may ask and manages nothing. `subject`: whose permissions count.

    `asserted`: how properties the caller brings meet stored ones; people assert nothing.
    """

    realm: str
    actor: Actor | None
    subject: str | None
    asserted: Asserted
    is_key: bool

    def manager(self) -> Actor:
        """Who acts in a management request. Raises Forbidden for a plain key, reading included."""
        if self.actor is None:
            raise Forbidden(
                "this key may only ask for decisions; one that manages acts as a subject or as an administrator"
                " (api_key create --subject, --admin)"
            )
        return self.actor

    def may(self, code: str, resource: str | None = None) -> bool:
        """Whether the caller holds a managing permission at a scope (None: the realm)."""
        return self.may_each(code, [resource])[0]

    def may_each(self, code: str, resources: Sequence[str | None]) -> list[bool]:
        actor = self.manager()
        if actor.administrator:
            return [True] * len(resources)
        if actor.subject is None:
            return [False] * len(resources)
        # `full`: what was taken away a moment ago through another worker must not show a list of the realm once more.
        requests = [Request(actor.subject, code, resource, asserted="ignore") for resource in resources]
        return [bool(decision) for decision in pdp.decide_many(requests, realm=self.realm, full=True)]

    def may_somewhere(self, code: str) -> bool:
        """Whether the caller holds a managing permission at the realm or at the scope of any binding that reaches them."""
        actor = self.manager()
        if actor.administrator or self.may(code):
            return True
        if actor.subject is None:
            return False
        realm = Realm.objects.get(name=self.realm)
        facts = selectors.subject_facts(realm.pk, [actor.subject])[actor.subject]
        everyone = RoleBinding.objects.filter(
            realm=realm, subject__ref=f"{names.split_ref(actor.subject)[0]}:*", scope__isnull=False
        ).values_list("scope__ref", flat=True)
        scopes: list[str | None] = [*{b.scope for b in facts.bindings if b.scope} | set(everyone)]
        return any(self.may_each(code, scopes))

    def require(self, code: str, resource: str | None = None) -> None:
        if not self.may(code, resource):
            raise Forbidden(f"this needs {code} {'on ' + resource if resource else 'in the realm ' + self.realm}")


def asker_of(request: HttpRequest, named: str | None) -> Asker:
    """`named` is the realm that the request names.

    Raises NotAuthenticated, Forbidden for a key that names another realm, NotFound for a person who names none of ours.
    """
    found = _of_key(request.auth, named) if isinstance(request.auth, Caller) else _of_person(request, named)
    trace.note(realm=found.realm, actor=found.actor.name if found.actor is not None else "")
    return found


def _of_person(request: HttpRequest, named: str | None) -> Asker:
    user: Any = request.user
    if user is None or not user.is_authenticated:
        raise NotAuthenticated("send an API key as 'Authorization: Bearer <key>', or log in")
    realm = conf.django_realm() if named is None else named
    if named is not None and not Realm.objects.filter(name=named).exists():
        raise NotFound(f"there is no realm {named!r}")
    subject = f"user:{getattr(user, conf.subject_attribute())}"
    actor = Actor("user", subject, subject=subject, administrator=bool(user.is_superuser))
    return Asker(realm, actor, subject, "ignore", is_key=False)


def _of_key(key: Caller, named: str | None) -> Asker:
    if named is not None and named != key.realm:
        raise Forbidden(f"this key belongs to the realm {key.realm!r}, which is the realm of its requests")
    actor = None
    if key.is_admin or key.subject:
        actor = Actor("key", f"key:{key.name}", subject=key.subject or None, administrator=key.is_admin)
    return Asker(key.realm, actor, key.subject or None, key.asserted, is_key=True)
