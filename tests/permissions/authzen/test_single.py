"""One evaluation: what is answered, and what is kept out of the answer."""

from __future__ import annotations

from typing import Any

from tests.permissions.authzen.wire import ALICE, CHARLIE, QUESTION, RECORD, Table, application, ask


def test_it_says_yes_and_nothing_else():
    answer = ask(application())
    assert (answer.status, answer.body) == (200, b'{"decision":true}')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))


def test_a_denial_is_an_answer_and_no_error():
    answer = ask(application(), {**QUESTION, "subject": CHARLIE})
    assert (answer.status, answer.body) == (200, b'{"decision":false}')


def test_it_asks_for_the_code_made_of_type_and_action_name():
    pdp = Table()
    ask(application(pdp), {"subject": ALICE, "action": {"name": "edit:own"}, "resource": {"type": "blog.post", "id": "a:b/c"}})
    [request] = pdp.asked
    assert (request.subject, request.permission, request.resource) == ("user:alice", "blog.post:edit:own", "blog.post:a:b/c")


def test_properties_and_context_reach_the_decision_as_they_are():
    pdp = Table()
    body = {
        "subject": {**ALICE, "properties": {"role": "admin", "level": 3, "share": 0.5, "tags": ["a", None, True]}},
        "action": {"name": "read", "properties": {"soft": True}},
        "resource": {**RECORD, "properties": {"status": "archived"}},
        "context": {"ip": "192.0.2.1", "deep": {"er": {}}},
    }
    ask(application(pdp), body)
    [request] = pdp.asked
    assert request.subject_properties == {"role": "admin", "level": 3, "share": 0.5, "tags": ["a", None, True]}
    assert request.action_properties == {"soft": True}
    assert request.resource_properties == {"status": "archived"}
    assert request.context == {"ip": "192.0.2.1", "deep": {"er": {}}}


def test_whole_numbers_stay_whole():
    pdp = Table()
    ask(application(pdp), {**QUESTION, "context": {"n": 1, "x": 1.0}})
    assert [type(value) for value in pdp.asked[0].context.values()] == [int, float]


def test_the_mode_of_assertion_is_the_keys():
    pdp = Table()
    ask(application(pdp))
    assert pdp.asked[0].asserted == "override"


def test_unknown_members_are_ignored_at_every_level():
    body: dict[str, Any] = {
        "subject": {**ALICE, "name": "Alice", "deep": {"er": [1]}},
        "action": {"name": "read", "method": None},
        "resource": {**RECORD, "owner": 5},
        "evaluations": "not looked at here",
        "options": 7,
        "foo": {"bar": [{}]},
    }
    assert ask(application(), body).body == b'{"decision":true}'


def test_a_cold_question_goes_through_a_thread_and_is_answered_alike():
    assert ask(application(Table(is_warm=False))).body == b'{"decision":true}'


def test_superusers_count_only_where_the_site_says_so():
    off, on = Table(), Table()
    ask(application(off))
    ask(application(on, superuser=True))
    assert (off.superusers, on.superusers) == ([False], [True])


def test_a_context_is_given_only_when_asked_for():
    pdp = Table()
    app = application(pdp)
    for context in ({"explain": False}, {"explain": "true"}, {"explain": 1}, {"explained": True}, {}):
        assert ask(app, {**QUESTION, "context": context}).body == b'{"decision":true}'
    answer = ask(app, {**QUESTION, "context": {"explain": True}}).json
    assert answer == {"decision": True, "context": {"reason": "granted", "path": [{"role": "reader"}]}}


def test_a_denial_is_explained_when_asked_for():
    answer = ask(application(), {**QUESTION, "subject": CHARLIE, "context": {"explain": True}}).json
    assert answer["decision"] is False
    assert answer["context"]["reason"] == "no_grant"


def test_obligations_are_never_kept_from_a_client():
    step_up = {"id": "1", "type": "step-up", "properties": {"acr_value": "mfa"}}
    pdp = Table()
    pdp.obligations = (step_up,)
    app = application(pdp)
    assert ask(app).json == {"decision": True, "context": {"obligations": [step_up]}}
    named = ask(app, {**QUESTION, "context": {"supported_obligations": ["step-up"]}}).json
    assert named == {"decision": True, "context": {"obligations": [step_up]}}
    explained = ask(app, {**QUESTION, "context": {"explain": True}}).json
    assert explained["context"]["obligations"] == [step_up]


def test_an_obligation_that_two_roles_bring_is_told_once_and_an_id_names_one():
    step_up = {"id": "1", "type": "step-up", "properties": {"acr_value": "mfa"}}
    log, mail = {"id": "1", "type": "custom"}, {"id": "1-2", "type": "notification"}
    pdp = Table()
    pdp.obligations = (step_up, log, dict(step_up), mail)
    told = ask(application(pdp)).json["context"]["obligations"]
    assert told == [step_up, {**log, "id": "1-2"}, {**mail, "id": "1-2-2"}]


def test_without_obligations_naming_them_adds_nothing():
    body = {**QUESTION, "context": {"supported_obligations": ["step-up"]}}
    assert ask(application(), body).body == b'{"decision":true}'
