"""/api/v1/check, /check/batch, /explain: decisions of the same PDP as AuthZEN's, for callers that prefer one plain question."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from permissions import pdp, revisions
from permissions.api.base import ApiView
from permissions.api.callers import Asker
from permissions.api.openapi import Operation, ref
from permissions.bundle.fields import Fields, Problems
from permissions.bundle.schema import parse_date
from permissions.engine.reasons import InvalidRequestError
from permissions.engine.types import Decision, Request
from permissions.errors import Forbidden, Invalid

ASK: Final = "permsite.decision:ask"
PROPERTIES: Final = ("subject_properties", "resource_properties", "action_properties")
KEYS: Final = ("subject", "permission", "resource", "context", "at", *PROPERTIES)


class DecisionView(ApiView):
    """Who may ask: a key anything in its realm; a person about themselves, about others with `permsite.decision:ask` there."""

    def token_headers(self, revision: int) -> dict[str, str]:
        return {revisions.HEADER: pdp.token_at(self.asker.realm, revision)} if self.sent_token else {}


class CheckView(DecisionView):
    def post(self, request: HttpRequest) -> Response:
        asked, at = read_question(request.data, "", self.asker)
        token, full = self.token_in()
        allow_asking(self.asker, [asked])
        decision = pdp.decide(asked, realm=self.asker.realm, token=token, full=full, at=at, superuser=pdp.wire_superuser())
        return Response(answer(decision), headers=self.token_headers(decision.revision))

    def operations(self) -> dict[str, Operation]:
        return {"POST": asking("check", "May this subject do this to that?", "Decision", "Check")}


class BatchView(DecisionView):
    def post(self, request: HttpRequest) -> Response:
        """One malformed check refuses the batch: half a batch would be taken for a whole one."""
        problems = Problems()
        fields = Fields(request.data, "", problems, ("checks",))
        checks = fields.items("checks")
        if fields.is_mapping and "checks" not in fields.data:
            problems.note("", "the key 'checks' is missing")
        if len(checks) > pdp.MAX_BATCH:
            problems.note("checks", f"holds {len(checks)} checks; at most {pdp.MAX_BATCH} are allowed")
        if problems:
            raise Invalid(problems)
        questions = [read_question(item, where, self.asker) for where, item in checks]
        token, full = self.token_in()
        allow_asking(self.asker, [asked for asked, _ in questions])
        decisions = self.decide(questions, token, full)
        revision = max((decision.revision for decision in decisions), default=0)
        headers = self.token_headers(revision) if decisions else {}
        return Response({"results": [answer(decision) for decision in decisions]}, headers=headers)

    def decide(
        self, questions: Sequence[tuple[Request, dt.datetime | None]], token: revisions.Token | None, full: bool
    ) -> list[Decision]:
        """In order. Questions of one instant are decided together, at one revision; most batches have one instant."""
        decisions: dict[int, Decision] = {}
        for at in dict.fromkeys(at for _, at in questions):
            places = [place for place, (_, instant) in enumerate(questions) if instant == at]
            found = pdp.decide_many(
                [questions[place][0] for place in places],
                realm=self.asker.realm,
                token=token,
                full=full,
                at=at,
                superuser=pdp.wire_superuser(),
            )
            decisions.update(zip(places, found, strict=True))
        return [decisions[place] for place in range(len(questions))]

    def operations(self) -> dict[str, Operation]:
        about = "At most 1,000 checks. Those of one instant (`at`) are decided at one revision."
        return {"POST": asking("check_batch", "Many checks at once", "Decisions", "Checks", about)}


class ExplainView(DecisionView):
    def post(self, request: HttpRequest) -> Response:
        asked, at = read_question(request.data, "", self.asker)
        token, full = self.token_in()
        allow_asking(self.asker, [asked])
        explanation = pdp.explain_request(
            asked, realm=self.asker.realm, token=token, full=full, at=at, superuser=pdp.wire_superuser()
        )
        decision = explanation.decision
        body = {**explanation.to_dict(), **answer(decision)}
        return Response(body, headers=self.token_headers(decision.revision))

    def operations(self) -> dict[str, Operation]:
        about = "The decision with the path that decided, or with the nearest missing grants."
        return {"POST": asking("explain", "Why, or why not", "Explanation", "Check", about)}


def asking(name: str, summary: str, answered: str, body: str, about: str = "") -> Operation:
    return Operation(name, summary, "decisions", ref(answered), body=ref(body), about=about, checks=True)


def read_question(data: object, where: str, asker: Asker) -> tuple[Request, dt.datetime | None]:
    """One question in the caller's words. Raises Invalid or InvalidRequestError naming the place."""
    problems = Problems()
    fields = Fields(data, where, problems, KEYS)
    if fields.is_mapping:
        for key in ("subject", "permission"):
            if fields.data.get(key) is None:
                problems.note(where, f"the key '{key}' is missing")
        for key in ("subject", "permission", "resource"):
            value = fields.data.get(key)
            if value is not None and not isinstance(value, str):
                fields.note(key, "must be a text, written type:id" if key != "permission" else "must be a text")
        for key in ("context", *PROPERTIES):
            if key in fields.data and not isinstance(fields.data[key], Mapping):
                fields.note(key, "must be an object")
    at = None
    if fields.data.get("at") is not None:
        try:
            at = parse_date(fields.data["at"])
        except ValueError as error:
            fields.note("at", str(error))
    if problems:
        raise Invalid(problems)
    try:
        return question_of(fields.data, asker), at
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{where}: {error}" if where else str(error)) from error


def question_of(data: Mapping[str, Any], asker: Asker) -> Request:
    return pdp.question(
        data["subject"],
        data["permission"],
        data.get("resource"),
        context=data.get("context"),
        subject_properties=data.get("subject_properties"),
        resource_properties=data.get("resource_properties"),
        action_properties=data.get("action_properties"),
        asserted=asker.asserted,
    )


def allow_asking(asker: Asker, questions: Sequence[Request]) -> None:
    """Raises Forbidden unless the caller may ask all of it."""
    if asker.is_key:
        return
    scopes = list(dict.fromkeys(q.resource for q in questions if q.subject != asker.subject))
    if not scopes:
        return
    for scope, allowed in zip(scopes, asker.may_each(ASK, scopes), strict=True):
        if not allowed:
            raise Forbidden(f"asking about others needs {ASK} {'on ' + scope if scope else 'in the realm ' + asker.realm}")


def answer(decision: Decision) -> dict[str, Any]:
    body: dict[str, Any] = {
        "allowed": decision.allowed,
        "reason": decision.reason,
        "revision": decision.revision,
        "source": decision.source,
    }
    if decision.obligations:
        body["obligations"] = [dict(one) for one in decision.obligations]
    if decision.stale:
        body["stale"] = True
    return body
