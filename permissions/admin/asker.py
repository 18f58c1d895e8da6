"""What the person in front of the screen may see and do: every question goes to the PDP, once a request.

A Django superuser is the break-glass: nothing is asked about one, so that the admin stays usable while no decision can be given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

from django.core.signing import BadSignature
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from permissions import conf, pdp, revisions, selectors
from permissions.engine import platform
from permissions.engine.types import REALM, SubjectFacts
from permissions.errors import Refused
from permissions.models import Realm, Resource
from permissions.pep.freshness import COOKIE
from permissions.writing import Actor
from resilience import trace

SESSION_KEY: Final = "permsite_realm"
# How many scopes or resources a list asks about. Measured in `lookup`: some 10 µs each once loaded; chosen so that a page stays
# under half a second. What lies beyond is not shown, and the page says so.
MAX_ASKED: Final = 5_000
_BATCH: Final = 1_000


def current_realm(request: HttpRequest) -> Realm:
    """The realm this session works in: the one chosen, else the default one, else the first there is."""
    found = getattr(request, "_permsite_realm", None)
    if found is None:
        wanted = request.session.get(SESSION_KEY) or conf.django_realm()
        found = Realm.objects.filter(name=wanted).first() or Realm.objects.filter(name=conf.django_realm()).first()
        found = found or Realm.objects.order_by("pk").first() or Realm(name=conf.django_realm())
        choose_realm(request, found)
    return cast(Realm, found)


def choose_realm(request: HttpRequest, realm: Realm) -> None:
    """The session works in this realm from now on."""
    request._permsite_realm = realm  # type: ignore[attr-defined]
    request._permsite_asker = None  # type: ignore[attr-defined]
    if request.session.get(SESSION_KEY) != realm.name:
        request.session[SESSION_KEY] = realm.name


def subject_ref(request: HttpRequest) -> str:
    return f"user:{getattr(request.user, conf.subject_attribute())}"


def is_break_glass(request: HttpRequest) -> bool:
    return bool(request.user.is_active and getattr(request.user, "is_superuser", False))


def actor_of(request: HttpRequest) -> Actor:
    """Who is audited, and whose permissions the guards ask."""
    ref = subject_ref(request)
    trace.note(actor=ref)
    return Actor("user", ref, subject=ref, administrator=is_break_glass(request))


class Asker:
    """The answers given so far, for one person, in one realm. Ask through `asker(request)`."""

    def __init__(self, request: HttpRequest, realm: Realm) -> None:
        self.ref = subject_ref(request)
        self.realm = realm
        self.break_glass = is_break_glass(request)
        self.unavailable = False
        trace.note(realm=realm.name, actor=self.ref)
        self._token = _token(request, realm)
        self._known: dict[tuple[str, str | None], bool] = {}
        self._facts: SubjectFacts | None = None

    def may(self, code: str, resource: str | None = None) -> bool:
        if self.break_glass:
            return True
        if (code, resource) not in self._known:
            # At the realm every code of the platform is asked at once: a page needs some thirty of them, and inside a write each
            # question of its own would read the whole model again.
            codes = platform.CODES if resource is None and code in platform.CODES else (code,)
            self._ask((c, resource) for c in codes)
        return self._known[(code, resource)]

    def may_at(self, code: str, resources: Iterable[str]) -> set[str]:
        """Those of `resources` where the code is held."""
        wanted = list(resources)
        if self.break_glass:
            return set(wanted)
        self._ask((code, ref) for ref in wanted if (code, ref) not in self._known)
        return {ref for ref in wanted if self._known[(code, ref)]}

    def may_somewhere(self, code: str) -> bool:
        """Whether it is held at the realm, or at a node where something is granted to this person."""
        return self.may(code) or bool(self.may_at(code, self.anchors()))

    def anchors(self) -> list[str]:
        """The nodes that bindings of this person, of their teams or of everyone hang on."""
        if self.break_glass:
            return []
        if self._facts is None:
            self._facts = selectors.subject_facts(self.realm.pk, [self.ref])[self.ref]
        everyone = f"{self.ref.partition(':')[0]}:*"
        nodes = {binding.scope for binding in self._facts.bindings if binding.scope != REALM}
        rows = Resource.objects.filter(realm=self.realm, bindings__subject__ref=everyone)
        return sorted(nodes | set(rows.order_by().values_list("ref", flat=True)[:MAX_ASKED]))

    def nodes(self, code: str, rows: QuerySet[Resource]) -> tuple[list[int], bool]:
        """Keys of the nodes in `rows` where the code is held, and whether there were too many to ask about all of them."""
        asked = list(rows.order_by("ref").values_list("pk", "ref")[: MAX_ASKED + 1])
        held = self.may_at(code, [ref for _, ref in asked[:MAX_ASKED]])
        return [pk for pk, ref in asked[:MAX_ASKED] if ref in held], len(asked) > MAX_ASKED

    def _ask(self, questions: Iterable[tuple[str, str | None]]) -> None:
        wanted = list(questions)
        for at in range(0, len(wanted), _BATCH):
            part = wanted[at : at + _BATCH]
            for key, allowed in zip(part, self._answers(part), strict=True):
                self._known[key] = allowed

    def _answers(self, part: list[tuple[str, str | None]]) -> list[bool]:
        try:
            requests = [pdp.question(self.ref, code, resource) for code, resource in part]
            try:
                decisions = pdp.decide_many(requests, realm=self.realm.name, token=self._token)
            except Refused:
                # The cookie is of a state this server does not know (a restored database): the newest state answers instead.
                decisions = pdp.decide_many(requests, realm=self.realm.name, full=True)
        except pdp.InvalidRequestError:
            # A name that is no subject's (a Django user called "a\u0301") or a realm that is gone: nothing is held.
            return [False] * len(part)
        except pdp.Unavailable:
            self.unavailable = True
            return [False] * len(part)
        return [decision.allowed for decision in decisions]


def asker(request: HttpRequest) -> Asker:
    found = getattr(request, "_permsite_asker", None)
    if found is None:
        found = Asker(request, current_realm(request))
        request._permsite_asker = found  # type: ignore[attr-defined]
    return cast(Asker, found)


def forget_answers(request: HttpRequest) -> None:
    """After a write, and once the lock is held: what was answered before may no longer be so."""
    request._permsite_asker = None  # type: ignore[attr-defined]


def _token(request: HttpRequest, realm: Realm) -> str | None:
    """The token of this browser's last write, if it is of this realm."""
    try:
        text = request.get_signed_cookie(COOKIE, default="")
    except BadSignature:
        return None
    try:
        return text if text and revisions.parse(text).realm_id == realm.pk else None
    except Refused:
        return None


def keep_token(response: HttpResponse, token: str, *, secure: bool) -> None:
    """The writer's next check is at least as fresh as the write. A day is enough: every cache has caught up by then."""
    if hasattr(response, "set_signed_cookie"):
        response.set_signed_cookie(COOKIE, token, max_age=86_400, httponly=True, secure=secure, samesite="Lax")
