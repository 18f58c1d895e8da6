"""The three searches on the wire: what may be asked, what comes back, and how pages are turned."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.core.management import call_command

from permissions import pdp
from permissions.authzen.app import Application, create_application
from permissions.identity import keys
from tests.permissions.authzen.wire import PUBLIC_URL, Answer, Table, application, ask, call
from tests.worlds import OFFICE, apply

SUBJECT = "/access/v1/search/subject"
RESOURCE = "/access/v1/search/resource"
ACTION = "/access/v1/search/action"
ALICE = {"type": "user", "id": "alice"}
RECORD = {"type": "record", "id": "1"}
READ = {"name": "read"}
WHO: dict[str, Any] = {"subject": {"type": "user"}, "action": READ, "resource": RECORD}
WHAT: dict[str, Any] = {"subject": ALICE, "action": READ, "resource": {"type": "record"}}
HOW: dict[str, Any] = {"subject": ALICE, "resource": RECORD}
ALL = [(SUBJECT, WHO), (RESOURCE, WHAT), (ACTION, HOW)]
NO_PAGES: list[Any] = [None, 5, [], "next"]
NO_LIMITS: list[Any] = [-1, 1.5, 2.0, True, "5", None, []]
NO_TEXTS: list[Any] = [5, None, {}, True]


@pytest.fixture
def table() -> Table:
    found = Table()
    found.found = ["user:a", "user:b:c", "user:d"]
    return found


def test_results_are_exactly_type_and_id(table):
    answer = ask(application(table), WHO, path=SUBJECT)
    assert answer.body == b'{"results":[{"type":"user","id":"a"},{"type":"user","id":"b:c"},{"type":"user","id":"d"}]}'


def test_actions_are_exactly_names(table):
    table.found = ["read", "write:own"]
    assert ask(application(table), HOW, path=ACTION).body == b'{"results":[{"name":"read"},{"name":"write:own"}]}'


@pytest.mark.parametrize("ident", ["bob", "", "*", 5, None, [], "a" * 900])
def test_the_id_of_what_is_searched_is_ignored_whatever_it_is(ident, table):
    for path, body, member in ((SUBJECT, WHO, "subject"), (RESOURCE, WHAT, "resource")):
        plain = ask(application(table), body, path=path)
        answer = ask(application(table), {**body, member: {**body[member], "id": ident}}, path=path)
        assert (answer.status, answer.body) == (200, plain.body)
        assert table.asked[-1] == table.asked[-2]


@pytest.mark.parametrize("action", [READ, 5, None, {}, {"name": 7}])
def test_an_action_search_ignores_an_action(action, table):
    table.found = ["read"]
    assert ask(application(table), {**HOW, "action": action}, path=ACTION).json == {"results": [{"name": "read"}]}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (SUBJECT, {"action": READ, "resource": RECORD}, "subject is missing"),
        (SUBJECT, {"subject": {"type": "user"}, "resource": RECORD}, "action is missing"),
        (SUBJECT, {"subject": {"type": "user"}, "action": READ}, "resource is missing"),
        (SUBJECT, {**WHO, "resource": {"type": "record"}}, "resource.id is missing"),
        (SUBJECT, {**WHO, "subject": {}}, "subject.type is missing"),
        (SUBJECT, {**WHO, "subject": {"id": "alice"}}, "subject.type is missing"),
        (SUBJECT, {**WHO, "subject": "user"}, "subject must be an object"),
        (SUBJECT, {**WHO, "subject": None}, "subject must be an object, not null"),
        (SUBJECT, {**WHO, "subject": {"type": 5}}, "subject.type must be a string"),
        (SUBJECT, {**WHO, "subject": {"type": ""}}, "subject.type must not be empty"),
        (SUBJECT, {**WHO, "subject": {"type": "us:er"}}, "subject.type"),
        (SUBJECT, {**WHO, "subject": {"type": "user*"}}, "subject.type"),
        (SUBJECT, {**WHO, "subject": {"type": "user", "properties": 5}}, "subject.properties must be an object"),
        (SUBJECT, {**WHO, "subject": {"type": "user", "properties": {"teams": "all"}}}, "subject.properties.teams"),
        (SUBJECT, {**WHO, "action": {"name": "re*"}}, "pattern"),
        (SUBJECT, {**WHO, "context": []}, "context must be an object"),
        (RESOURCE, {"action": READ, "resource": {"type": "record"}}, "subject is missing"),
        (RESOURCE, {"subject": ALICE, "resource": {"type": "record"}}, "action is missing"),
        (RESOURCE, {"subject": ALICE, "action": READ}, "resource is missing"),
        (RESOURCE, {**WHAT, "subject": {"type": "user"}}, "subject.id is missing"),
        (RESOURCE, {**WHAT, "resource": {"id": "1"}}, "resource.type is missing"),
        (RESOURCE, {**WHAT, "resource": {"type": "re?ord"}}, "resource.type"),
        (ACTION, {"resource": RECORD}, "subject is missing"),
        (ACTION, {"subject": ALICE}, "resource is missing"),
        (ACTION, {**HOW, "subject": {"type": "user"}}, "subject.id is missing"),
        (ACTION, {**HOW, "resource": {"type": "record"}}, "resource.id is missing"),
        *[(path, {**body, "page": page}, "page must be an object") for path, body in ALL for page in NO_PAGES],
        *[(SUBJECT, {**WHO, "page": {"limit": limit}}, "page.limit must") for limit in NO_LIMITS],
        *[(SUBJECT, {**WHO, "page": {"token": token}}, "page.token must be a string") for token in NO_TEXTS],
        *[(SUBJECT, {**WHO, "page": {"token": token}}, "page.token is not one") for token in ("", "x", "n1.a.b", "é", "\x00")],
    ],
)
def test_what_cannot_be_asked_is_named(path, body, said, table):
    answer = ask(application(table), body, path=path)
    assert answer.status == 400
    assert said in answer.json
    assert table.asked == []


@pytest.mark.parametrize(("path", "body"), ALL)
def test_a_search_is_asked_for_with_post_by_a_key(path, body, table):
    assert ask(application(table), body, path=path, method="GET").status == 405
    assert ask(application(table), body, path=path, authorization=None).status == 401
    assert ask(application(table), body, path=path, content_type="text/plain").status == 400


@pytest.mark.parametrize(("path", "body"), ALL)
def test_a_token_of_a_revision_is_asked_for_and_answered(path, body, table):
    answer = ask(application(table), body, path=path, headers=[("X-Permission-Token", "full")])
    assert (answer.status, answer.headers["x-permission-token"]) == (200, "v1.default.7")
    assert table.tokens == ["full"]
    assert "x-permission-token" not in ask(application(table), body, path=path).headers
    assert ask(application(table), body, path=path, headers=[("X-Permission-Token", "future")]).status == 409


# Pages


def turn(app: Application, body: dict[str, Any], path: str = SUBJECT, **page: Any) -> Answer:
    return ask(app, {**body, "page": page}, path=path)


def test_a_page_is_told_of_where_it_was_asked_for_and_comes_first(table):
    answer = turn(application(table), WHO)
    assert answer.body.startswith(b'{"page":{"next_token":""},"results":[')
    assert list(turn(application(table), WHO, limit=2).json) == ["page", "results"]


def test_a_list_that_is_cut_is_never_without_a_token(table):
    table.found = [f"user:{n:04}" for n in range(1_500)]
    answer = application(table)
    cut = Table()

    class Short(Table):
        def _found(self, request: Any, *, limit: int | None, **options: Any) -> Any:
            return super()._found(request, limit=2, **options)

    cut = Short()
    cut.found = table.found
    first = ask(application(cut), WHO, path=SUBJECT).json
    assert len(first["results"]) == 2
    assert first["page"]["next_token"]
    second = turn(answer, WHO, token=first["page"]["next_token"]).json
    assert second["results"][0] == {"type": "user", "id": "0002"}
    assert second["page"]["next_token"] == ""


def test_pages_are_turned_to_the_end_without_naming_the_limit_again(table):
    app, results, token = application(table), [], None
    for _ in range(3):
        again: dict[str, Any] = {"limit": 1} if token is None else {"token": token}
        page = turn(app, WHO, **again).json
        results += page["results"]
        token = page["page"]["next_token"]
    assert [item["id"] for item in results] == ["a", "b:c", "d"]
    assert token == ""


@pytest.mark.parametrize("again", [{"limit": 2}, {"limit": 0}, {"limit": 10**12}])
def test_another_limit_with_a_token_is_refused(again, table):
    token = turn(application(table), WHO, limit=1).json["page"]["next_token"]
    assert turn(application(table), WHO, token=token, limit=1).status == 200
    answer = turn(application(table), WHO, token=token, **again)
    assert (answer.status, "page.limit" in answer.json) == (400, True)


def test_limits_that_mean_the_same_are_the_same(table):
    table.found = [f"user:{n:04}" for n in range(2_200)]
    app = application(table)
    token = turn(app, WHO, limit=5_000).json["page"]["next_token"]
    assert token
    assert turn(app, WHO, token=token, limit=10**30).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"subject": {"type": "agent"}},
        {"subject": {"type": "user", "properties": {"level": 2}}},
        {"action": {"name": "write"}},
        {"action": {"name": "read", "properties": {"soft": True}}},
        {"resource": {"type": "record", "id": "2"}},
        {"resource": {**RECORD, "properties": {"status": "archived"}}},
        {"context": {"mfa": True}},
    ],
)
def test_anything_else_that_changes_with_a_token_is_refused(change, table):
    app = application(table)
    token = turn(app, WHO, limit=1).json["page"]["next_token"]
    answer = turn(app, {**WHO, **change}, token=token)
    assert (answer.status, "another question" in answer.json) == (400, True)


def test_what_is_ignored_may_change_with_a_token(table):
    app = application(table)
    token = turn(app, WHO, limit=1).json["page"]["next_token"]
    body = {**WHO, "subject": {"type": "user", "id": "x", "name": "y"}, "context": {}, "more": 1}
    assert turn(app, body, token=token).status == 200


def test_a_token_of_one_direction_is_none_of_another(table):
    token = turn(application(table), WHO, limit=1).json["page"]["next_token"]
    for path, body in ALL[1:]:
        assert turn(application(table), body, path, token=token).status == 400


# With a real decision point


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
class TestReally:
    def key(self, capsys: Any, *options: str) -> str:
        capsys.readouterr()
        call_command("api_key", "create", f"key {options}", *options)
        return str(capsys.readouterr().out.strip())

    def ask(self, key: str, path: str, body: dict[str, Any], *headers: tuple[str, str]) -> Answer:
        app = create_application(pdp, keys, PUBLIC_URL)
        pairs = [("Authorization", f"Bearer {key}"), ("Content-Type", "application/json"), *headers]
        return asyncio.run(call(app, "POST", path, pairs, [json.dumps(body).encode()]))

    def test_each_direction_answers_what_check_says(self, capsys):
        apply(OFFICE)
        key = self.key(capsys)
        post = {"type": "post", "id": "7"}
        who = self.ask(key, SUBJECT, {"subject": {"type": "user"}, "action": READ, "resource": post})
        assert who.json == {"results": [{"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}]}
        what = self.ask(key, RESOURCE, {"subject": {"type": "user", "id": "bob"}, "action": READ, "resource": {"type": "post"}})
        assert what.json == {"results": [{"type": "post", "id": "7"}]}
        how = self.ask(key, ACTION, {"subject": ALICE, "resource": post})
        assert how.json == {"results": [{"name": "edit"}, {"name": "read"}]}

    def test_nothing_is_found_where_nothing_is_known(self, capsys):
        apply(OFFICE)
        key = self.key(capsys)
        for path, body in (
            (SUBJECT, {"subject": {"type": "spaceship"}, "action": READ, "resource": {"type": "post", "id": "7"}}),
            (SUBJECT, {"subject": {"type": "user"}, "action": {"name": "fly"}, "resource": {"type": "post", "id": "7"}}),
            (RESOURCE, {"subject": ALICE, "action": READ, "resource": {"type": "spaceship"}}),
            (RESOURCE, {"subject": {"type": "user", "id": "nobody"}, "action": READ, "resource": {"type": "post"}}),
            (ACTION, {"subject": {"type": "spaceship", "id": "x"}, "resource": {"type": "post", "id": "7"}}),
            (ACTION, {"subject": ALICE, "resource": {"type": "spaceship", "id": "1"}}),
        ):
            answer = self.ask(key, path, body)
            assert (answer.status, answer.json) == (200, {"results": []}), body

    def test_a_token_of_one_realm_is_none_of_another_and_none_of_a_key_with_another_rule(self, capsys):
        apply(OFFICE)
        apply(OFFICE.replace("realm: default", "realm: other"))
        body = {"subject": {"type": "user"}, "action": READ, "resource": {"type": "post", "id": "7"}, "page": {"limit": 1}}
        here = self.key(capsys)
        token = self.ask(here, SUBJECT, body).json["page"]["next_token"]
        turned = {**body, "page": {"token": token}}
        assert self.ask(here, SUBJECT, turned).json["results"] == [{"type": "user", "id": "bob"}]
        for other in (("--realm", "other"), ("--asserted", "override")):
            answer = self.ask(self.key(capsys, *other), SUBJECT, turned)
            assert (answer.status, "another question" in answer.json) == (400, True)

    def test_a_page_tells_its_revision(self, capsys):
        apply(OFFICE)
        key = self.key(capsys)
        body = {"subject": {"type": "user"}, "action": READ, "resource": {"type": "post", "id": "7"}}
        applied = apply("bindings: [{subject: 'user:charlie', role: reader}]")
        answer = self.ask(key, SUBJECT, body, ("X-Permission-Token", applied.token))
        assert answer.headers["x-permission-token"] == applied.token
        assert {"type": "user", "id": "charlie"} in answer.json["results"]
        assert self.ask(key, SUBJECT, body, ("X-Permission-Token", "v1.1.abcdef01.9.mac")).status == 400
