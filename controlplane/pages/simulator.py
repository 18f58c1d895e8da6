"""The check simulator: a question and its answer with the path that decided; who can, what can; batches; kept assertions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controlplane.pages.base import Look, Page
from controlplane.pages.realm_choice import here, offered, realm_of, request_id_of
from controlplane.services import assertions, simulator
from controlplane.services.audit import instant
from controlplane.services.realms import ASK, POLICY_VIEW, may_in, realm_named
from controlplane.services.rights import VIEW, on_page
from permissions import pdp
from permissions.admin.check_box import SUGGESTED, told_in_words
from permissions.admin.reasons import REASONS
from permissions.api.parsing import read_json
from permissions.bundle.fields import Fields, Problems, parse_date
from permissions.engine import platform
from permissions.errors import Invalid, NotFound, Problem, Refused
from permissions.models import Assertion, Permission, Resource, Subject
from permissions.writing import run_write

MODES: Final = {
    "check": gettext_lazy("May they?"),
    "who": gettext_lazy("Who can?"),
    "what": gettext_lazy("What can they?"),
}
# Of one context in a link; a longer one goes into a batch.
MAX_CONTEXT: Final = 4_000
MAX_BATCH_TEXT: Final = 900_000


# The question in the link
def asked_in(look: Look) -> dict[str, str]:
    mode = look.get("mode", 10)
    return {
        "mode": mode if mode in MODES else "check",
        "subject": look.get("subject", 600),
        "permission": look.get("permission", 300),
        "resource": look.get("resource", 600),
        "context": look.get("context", MAX_CONTEXT + 1),
        "at": look.get("at", 40),
    }


def is_asked(asked: Mapping[str, str]) -> bool:
    if asked["mode"] == "who":
        return bool(asked["permission"])
    return bool(asked["subject"] and (asked["permission"] or asked["mode"] == "what"))


def question_in(asked: Mapping[str, str]) -> simulator.Asked:
    """Raises Invalid naming the field, InvalidRequestError."""
    context: Any = {}
    if asked["context"]:
        if len(asked["context"]) > MAX_CONTEXT:
            raise Invalid([Problem("context", _("is longer than %(most)s characters") % {"most": MAX_CONTEXT})])
        try:
            context = read_json(asked["context"].encode("utf-8", "surrogatepass"))
        except Refused as error:
            raise Invalid([Problem("context", error.detail.removeprefix("the body "))]) from error
        if not isinstance(context, dict):
            raise Invalid([Problem("context", _('must be a JSON object, such as {"mfa": true}'))])
    at = None
    if asked["at"]:
        try:
            at = instant(asked["at"])
        except ValueError as error:
            raise Invalid([Problem("at", str(error))]) from error
    subject = asked["subject"] if asked["mode"] != "who" else "user:nobody"
    permission = asked["permission"] if asked["mode"] != "what" else asked["permission"] or "any:any"
    return simulator.asked_of(subject, permission, asked["resource"], context, at)


def answer(look: Look, realm: str, asked: Mapping[str, str]) -> dict[str, Any]:
    """Raises Refused, InvalidRequestError, Unavailable."""
    realm = realm_named(look.actor, realm).name
    question = question_in(asked)
    if asked["mode"] == "who":
        return {"list": simulator.who_can(look.actor, realm, question)}
    if asked["mode"] == "what":
        return {"list": simulator.what_can(look.actor, realm, question, here=question.question.resource is not None)}
    return {"answer": told_in_words(simulator.explain(look.actor, realm, question))}


def told_problems(error: Exception) -> list[str]:
    if isinstance(error, pdp.Unavailable):
        return [str(REASONS["unavailable"])]
    problems = getattr(error, "problems", ())
    return [str(problem) for problem in problems] or [getattr(error, "detail", "") or str(error)]


def missing(look: Look, code: str, realm: str) -> str:
    """Why a button cannot be pressed; empty when it can."""
    try:
        may = may_in(look.actor, code, realm)
    except (pdp.InvalidRequestError, pdp.Unavailable):
        may = False
    return "" if may else _("This needs %(code)s in the realm %(realm)s.") % {"code": code, "realm": realm}


# Kept assertions
def kept(look: Look, realm: str) -> dict[str, Any]:
    """`assertions` is None for whoever may not see them."""
    if missing(look, POLICY_VIEW, realm):
        return {"assertions": None}
    rows = Assertion.objects.filter(realm__name=realm).order_by("name")[: assertions.MOST]
    return {"assertions": [assertions.assertion_line(row) for row in rows]}


def save(look: Look, fields: Mapping[str, str], reason: str) -> str:
    asked = {name: fields.get(name, "") for name in ("subject", "permission", "resource", "context", "at")}
    question = question_in({**asked, "mode": "check"})
    line: dict[str, Any] = {**question.to_dict(), "name": fields.get("name", "").strip()}
    line["expected"] = {"allowed": True, "denied": False}.get(fields.get("expected", ""), fields.get("expected"))
    spec = assertions.read_assertion({key: value for key, value in line.items() if value is not None})
    realm = realm_named(look.actor, fields.get("realm", ""))
    run_write(
        realm.name,
        look.actor,
        reason,
        lambda write: assertions.assertion_create(write=write, spec=spec),
        request_id=request_id_of(look),
    )
    return _("Kept as the assertion %(name)s.") % {"name": spec.name}


def delete(look: Look, fields: Mapping[str, str], reason: str) -> str:
    number = fields.get("id", "")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise NotFound(_("There is no such assertion."))
    realm = realm_named(look.actor, fields.get("realm", ""))
    run_write(
        realm.name,
        look.actor,
        reason,
        lambda write: assertions.assertion_delete(write=write, assertion_id=int(number)),
        request_id=request_id_of(look),
    )
    return _("The assertion is deleted.")


def run(look: Look, fields: Mapping[str, str]) -> dict[str, Any]:
    """All of the realm."""
    try:
        realm = realm_named(look.actor, fields.get("realm", ""))
        refused = missing(look, POLICY_VIEW, realm.name)
        if refused:
            return {"run": {"problems": [refused]}}
        rows = Assertion.objects.filter(realm=realm).order_by("name")[: assertions.MOST]
        outcomes = assertions.run(actor=look.actor, realm=realm, rows=rows)
    except (Refused, pdp.InvalidRequestError, pdp.Unavailable) as error:
        return {"run": {"problems": told_problems(error)}}
    passed = sum(outcome.outcome == assertions.PASSED for outcome in outcomes)
    results = {outcome.assertion.pk: {**outcome.to_dict(), "reason_text": in_words(outcome.reason)} for outcome in outcomes}
    return {"run": {"passed": passed, "total": len(outcomes), "ok": passed == len(outcomes), "results": results}}


def in_words(reason: str | None) -> Any:
    return "" if reason is None else REASONS.get(reason, reason)


# A pasted batch
def batch(look: Look, fields: Mapping[str, str]) -> dict[str, Any]:
    text = fields.get("checks", "")
    try:
        realm = realm_named(look.actor, fields.get("realm", "")).name
        asked = read_batch(text)
        answers = simulator.decide_all(look.actor, realm, asked)
    except (Refused, pdp.InvalidRequestError, pdp.Unavailable) as error:
        return {"batch": {"text": text[:MAX_BATCH_TEXT], "problems": told_problems(error)}}
    lines = [{**one, "reason_text": in_words(one["reason"])} for one in answers]
    allowed = sum(one["allowed"] for one in lines)
    return {"batch": {"text": text, "lines": lines, "allowed": allowed, "denied": len(lines) - allowed}}


def read_batch(text: str) -> list[simulator.Asked]:
    """The body of /check/batch, its list alone, or lines. Raises Refused, InvalidRequestError."""
    if len(text) > MAX_BATCH_TEXT:
        raise Invalid([Problem("", _("is longer than %(most)s characters") % {"most": MAX_BATCH_TEXT})])
    if not text.strip():
        raise Invalid([Problem("", _("Paste some checks first."))])
    if text.lstrip()[0] not in "[{":
        return simulator.read_lines(text)
    value = read_json(text.encode("utf-8", "surrogatepass"))
    items: Any = value.get("checks") if isinstance(value, dict) else value
    if not isinstance(items, list) or not items:
        raise Invalid([Problem("checks", _("must be a list of checks"))])
    if len(items) > pdp.MAX_BATCH:
        raise Invalid([Problem("checks", f"holds {len(items)} checks; at most {pdp.MAX_BATCH} are allowed")])
    return [read_check(item, f"checks[{number}]") for number, item in enumerate(items)]


def read_check(item: object, where: str) -> simulator.Asked:
    problems = Problems()
    fields = Fields(item, where, problems, ("subject", "permission", "resource", "context", "at"))
    texts = {key: fields.data.get(key) for key in ("subject", "permission", "resource")}
    for key, value in texts.items():
        if (value is None and key != "resource") or not isinstance(value, str | None):
            fields.note(key, "must be a text")
    context = fields.data.get("context")
    if context is not None and not isinstance(context, Mapping):
        fields.note("context", "must be an object")
    at = None
    if fields.data.get("at") is not None:
        try:
            at = parse_date(fields.data["at"])
        except ValueError as error:
            fields.note("at", str(error))
    if problems:
        raise Invalid(problems)
    try:
        return simulator.asked_of(str(texts["subject"]), str(texts["permission"]), fields.data.get("resource"), context or {}, at)
    except pdp.InvalidRequestError as error:
        raise Invalid([Problem(where, str(error))]) from error


# What a reason means
def reason_page(code: str) -> dict[str, Any] | None:
    """The page of the reference, which is English; its paragraphs."""
    if code not in REASONS:
        return None
    path = Path(settings.BASE_DIR) / "docs" / "reference" / "reasons" / f"{code}.md"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:  # an installation without its documentation
        return {"code": code, "paragraphs": [REASONS[code]]}
    parts = [part.strip().replace("**", "").replace("`", "") for part in text.split("\n\n")]
    return {"code": code, "paragraphs": [part for part in parts if part and not part.startswith("#")]}


class Simulator(Page):
    name = "simulator"
    title = gettext_lazy("Simulator")
    about = gettext_lazy("Ask a question as an application would, and see why it is answered so")
    icon = "science"
    actions: ClassVar = {"save_assertion": save, "delete_assertion": delete}
    asks: ClassVar = {"batch": batch, "run_assertions": run}

    def snapshot(self, look: Look) -> dict[str, Any]:
        realm = realm_of(look)
        asked = asked_in(look)
        answered: dict[str, Any] = {"answer": None, "list": None, "problems": []}
        if is_asked(asked):
            try:
                answered |= answer(look, realm, asked)
            except (Refused, pdp.InvalidRequestError, pdp.Unavailable) as error:
                answered["problems"] = told_problems(error)
        return {"realm": realm, "asked": asked, **answered, **kept(look, realm)}

    def context(self, look: Look) -> dict[str, Any]:
        realm_name = realm_of(look)
        found: dict[str, Any] = {
            "here": here(look),
            "realms": offered(look, ASK, realm_name),
            "modes": MODES,
            "examples": [],
            "missing_create": missing(look, "permsite.policy:create", realm_name),
            "missing_delete": missing(look, "permsite.policy:delete", realm_name),
            "reason_page": reason_page(look.get("about", 40)),
        }
        try:
            realm = realm_named(look.actor, realm_name)
        except Refused:
            return found
        if not is_asked(asked_in(look)):
            found["examples"] = [
                {**one, "reason_text": REASONS.get(one["reason"], one["reason"])} for one in simulator.examples(look.actor, realm)
            ]
        if may_in(look.actor, VIEW, realm.name, on_page(self.name)):
            codes = Permission.objects.filter(realm=realm).exclude(code__startswith=platform.PREFIX).order_by("code")
            found["codes"] = list(codes.values_list("code", flat=True)[:SUGGESTED])
        if may_in(look.actor, "permsite.resource:view", realm.name):
            found["resources"] = list(
                Resource.objects.filter(realm=realm).order_by("ref").values_list("ref", flat=True)[:SUGGESTED]
            )
        if may_in(look.actor, "permsite.subject:view", realm.name):
            people = Subject.objects.filter(realm=realm).exclude(kind="everyone").order_by("ref")
            found["subjects"] = list(people.values_list("ref", flat=True)[:SUGGESTED])
        return found
