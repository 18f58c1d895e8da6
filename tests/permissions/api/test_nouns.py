"""One contract for every noun: whatever is written is read back equal, whatever is wrong is refused with its place."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from permissions.models import Realm
from permissions.revisions import HEADER
from tests.permissions.api.world import Api, Cast, item, refused

pytestmark = pytest.mark.django_db


@dataclass
class Noun:
    """`line` is one to make, `changed` what it is replaced by, `patch` what is sent to get from one to the other."""

    section: str
    key: str
    line: dict[str, Any]
    changed: dict[str, Any]
    patch: dict[str, Any]
    odd_names: tuple[str, ...] = ()
    wrong: dict[str, Any] = field(default_factory=dict)

    def name_of(self, answer: Any) -> Any:
        return answer["id"] if self.section == "bindings" else answer[self.key]


ODD_NAMES = ("ünïcødé 名字", "a/b/c", "ends/", "50%?#&=+ x", "'\"<script>", "x" * 255)
ODD_REFS = ("doc:ünïcødé 名字", "repo:openfga/openfga", "path:/a/b/", "mail:a@b.example", "q:50%?#&=+ x", "urn:a:b:c")

NAMES_OF_NOTHING = ("nobody-has-it", "\x00", "a\x00b", "\n", "%", "*", "../../etc", "9" * 30, "-1", "0", "ﬀ", "x" * 2000)
WRONG: list[Any] = [None, True, 0, -1.5, "", "\x00", "é" * 3000, [], {}, [[]], [None], {"a": {}}, 2**53]

NOUNS = [
    Noun(
        "realms",
        "name",
        {"name": "acme", "settings": {"staleness_s": 0.1}},
        {"name": "acme", "combining": "overlay", "settings": {"staleness_s": 0.1}},
        {"combining": "overlay"},
        ODD_NAMES,
        {"combining": "sometimes", "settings": {"staleness_s": -1}},
    ),
    Noun(
        "permissions",
        "code",
        {"code": "doc:read", "title": "Read"},
        {"code": "doc:read", "title": "Read", "menu": "docs", "requires": ["post:read"]},
        {"menu": "docs", "requires": ["post:read"]},
        ("doc:ünïcødé", "doc:a/b", "doc:x:y:z", "doc:50%?#&=+ x".replace("?", "")),
        {"requires": ["nocolon"], "critical": "yes"},
    ),
    Noun(
        "groups",
        "name",
        {"name": "docs", "permissions": ["doc:read"]},
        {"name": "docs", "title": "Documents", "permissions": ["doc:*"]},
        {"title": "Documents", "permissions": ["doc:*"]},
        ODD_NAMES,
        {"permissions": [""], "title": 5},
    ),
    Noun(
        "roles",
        "name",
        {
            "name": "writer",
            "inherits": ["reader"],
            "permissions": [{"code": "doc:send", "condition": "context.mfa == true"}, "doc:write"],
        },
        {
            "name": "writer",
            "groups": ["content"],
            "permissions": ["doc:write"],
            "deny": ["doc:purge"],
            "valid_until": "2030-01-01T00:00:00Z",
        },
        {
            "inherits": None,
            "groups": ["content"],
            "permissions": ["doc:write"],
            "deny": ["doc:purge"],
            "valid_until": "2030-01-01T00:00:00Z",
        },
        ODD_NAMES,
        {"inherits": "reader", "permissions": [{"code": "a:b", "condition": "1 +"}], "valid_from": "soon"},
    ),
    Noun(
        "subjects",
        "id",
        {"id": "user:dana", "attributes": {"dept": "sales", "n": 1}},
        {"id": "user:dana", "attributes": {"dept": "ops"}, "active": False, "locked": True},
        {"attributes": {"dept": "ops"}, "active": False, "locked": True},
        ODD_REFS,
        {"attributes": [], "active": "no"},
    ),
    Noun(
        "teams",
        "id",
        {"id": "team:ops", "members": ["user:bob", {"id": "user:eve", "valid_until": "2030-01-01T00:00:00Z"}]},
        {"id": "team:ops", "members": ["user:eve"], "attributes": {"floor": 3}},
        {"members": ["user:eve"], "attributes": {"floor": 3}},
        ODD_REFS,
        {"members": [7], "locked": 1},
    ),
    Noun(
        "resources",
        "id",
        {"id": "channel:3", "parent": "server:7", "attributes": {"owner": "user:alice"}},
        {"id": "channel:3", "parent": "server:8", "inherit": False},
        {"parent": "server:8", "inherit": False, "attributes": None},
        ODD_REFS,
        {"parent": "nocolon", "inherit": "no"},
    ),
    Noun(
        "bindings",
        "id",
        {"subject": "user:dana", "role": "reader", "scope": "server:7"},
        {
            "subject": "user:dana",
            "allow": ["post:read"],
            "deny": ["post:purge"],
            "condition": "context.mfa == true",
            "propagate": False,
        },
        {
            "role": None,
            "scope": None,
            "allow": ["post:read"],
            "deny": ["post:purge"],
            "condition": "context.mfa == true",
            "propagate": False,
        },
        (),
        {"role": 5, "scope": "nocolon", "condition": "nonsense(", "valid_from": "2026-01-01"},
    ),
]


def without_id(line: dict[str, Any], noun: Noun) -> dict[str, Any]:
    return {key: value for key, value in line.items() if noun.section != "bindings" or key != "id"}


def make(api: Api, noun: Noun, line: dict[str, Any] | None = None) -> str:
    answer = api.post(f"{noun.section}/", noun.line if line is None else line)
    assert answer.status == 201, answer.body
    return item(noun.section, noun.name_of(answer.json))


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.section)
class TestEveryNoun:
    @pytest.fixture
    def api(self, cast: Cast) -> Api:
        return cast.root

    def test_what_is_created_is_read_back_equal(self, api: Api, noun: Noun) -> None:
        answer = api.post(f"{noun.section}/", noun.line)
        assert answer.status == 201, answer.body
        assert without_id(answer.json, noun) == noun.line
        assert answer.headers[HEADER].startswith("v1.")
        read = api.get(answer.headers["Location"])
        assert (read.status, read.json) == (200, answer.json)
        assert HEADER not in read.headers
        assert read.headers["Content-Type"] == "application/json"

    def test_it_is_in_the_list_with_the_same_line(self, api: Api, noun: Noun) -> None:
        before = api.all(f"{noun.section}/")
        line = api.get(make(api, noun)).json
        assert sorted(map(repr, [*before, line])) == sorted(map(repr, api.all(f"{noun.section}/")))

    def test_it_is_replaced_as_a_whole(self, api: Api, noun: Noun) -> None:
        path = make(api, noun)
        answer = api.put(path, noun.changed)
        assert answer.status == 200, answer.body
        assert without_id(answer.json, noun) == noun.changed
        assert answer.headers[HEADER]
        assert api.get(path).json == answer.json

    def test_a_patch_changes_the_keys_it_names_and_null_takes_one_away(self, api: Api, noun: Noun) -> None:
        path = make(api, noun)
        answer = api.patch(path, noun.patch)
        assert answer.status == 200, answer.body
        assert without_id(answer.json, noun) == noun.changed
        assert api.get(path).json == answer.json

    def test_an_answer_can_be_sent_back_as_it_came(self, api: Api, noun: Noun) -> None:
        path = make(api, noun)
        line = api.get(path).json
        assert api.put(path, line).json == line
        assert api.patch(path, line).json == line

    def test_deleted_it_is_gone(self, api: Api, noun: Noun) -> None:
        path = make(api, noun)
        answer = api.delete(path)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers[HEADER]
        refused(api.get(path), 404, "not_found")
        refused(api.delete(path), 404, "not_found")
        refused(api.put(path, noun.changed), 404, "not_found")
        refused(api.patch(path, noun.patch), 404, "not_found")

    def test_an_unknown_key_is_refused_with_its_place(self, api: Api, noun: Noun) -> None:
        path = make(api, noun)
        line = api.get(path).json
        for answer in (
            api.post(f"{noun.section}/", {**noun.line, "colour": "red"}),
            api.put(path, {**noun.changed, "colour": "red"}),
            api.patch(path, {"colour": "red"}),
        ):
            refused(answer, 400, "invalid")
            assert "unknown key" in answer.places()["colour"]
        assert api.get(path).json == line

    def test_every_mistake_is_named_with_its_place(self, api: Api, noun: Noun) -> None:
        rows = api.all(f"{noun.section}/")
        answer = api.post(f"{noun.section}/", {**noun.line, **noun.wrong})
        refused(answer, 400, "invalid")
        places = answer.places()
        for key in noun.wrong:
            assert any(place == key or place.startswith((f"{key}[", f"{key}.")) for place in places), (key, places)
        assert api.all(f"{noun.section}/") == rows

    def test_a_missing_name_is_told(self, api: Api, noun: Noun) -> None:
        missing = "subject" if noun.section == "bindings" else noun.key
        answer = api.post(f"{noun.section}/", {key: value for key, value in noun.line.items() if key != missing})
        refused(answer, 400, "invalid")
        assert missing in answer.problem["detail"]

    def test_the_same_name_again_is_a_conflict(self, api: Api, noun: Noun) -> None:
        make(api, noun)
        answer = api.post(f"{noun.section}/", noun.line)
        if noun.section == "bindings":
            # Several bindings of one subject at one scope stay separate.
            assert answer.status == 201
        else:
            refused(answer, 409, "conflict")

    def test_a_name_may_hold_anything_that_the_law_lets_it_hold(self, api: Api, noun: Noun) -> None:
        for name in noun.odd_names:
            line = {**noun.line, noun.key: name}
            made = api.post(f"{noun.section}/", line)
            assert made.status == 201, (name, made.body)
            path = item(noun.section, name)
            assert api.get(path).json[noun.key] == name
            assert api.get(made.headers["Location"]).json == made.json
            assert api.put(path, {**noun.changed, noun.key: name}).status == 200
            assert api.delete(path).status == 204
            refused(api.get(path), 404, "not_found")

    def test_a_name_that_nothing_has_is_not_found(self, api: Api, noun: Noun) -> None:
        for name in NAMES_OF_NOTHING:
            path = item(noun.section, name)
            refused(api.get(path), 404, "not_found")
            refused(api.delete(path), 404, "not_found")
            assert api.patch(path, {}).status in (400, 404)
            assert api.put(path, noun.changed).status in (400, 404)

    def test_a_wrong_type_anywhere_is_a_400_and_never_a_500(self, api: Api, noun: Noun) -> None:
        path = make(api, noun)
        for key, value in itertools.product({*noun.line, *noun.changed}, WRONG):
            for answer in (
                api.post(f"{noun.section}/", {**noun.line, key: value}),
                api.put(path, {**noun.changed, key: value}),
                api.patch(path, {key: value}),
            ):
                assert answer.status in (200, 201, 400, 409), answer.body
                if answer.status == 400:
                    assert answer.problem["errors"]
        for body in (*WRONG, [noun.line]):
            if not isinstance(body, dict):
                for method, place in (("POST", f"{noun.section}/"), ("PUT", path), ("PATCH", path)):
                    assert api.send(method, place, raw=json.dumps(body).encode()).status == 400

    def test_it_pages_without_losing_or_repeating_a_row(self, api: Api, noun: Noun) -> None:
        make(api, noun)
        rows = api.all(f"{noun.section}/")
        assert api.all(f"{noun.section}/?limit=1") == rows
        assert api.all(f"{noun.section}/?limit=2&ordering=-{noun.key}") == rows[::-1]
        assert sorted(map(repr, api.all(f"{noun.section}/?limit=1&ordering=created"))) == sorted(map(repr, rows))

    def test_a_parameter_that_nobody_knows_is_refused(self, api: Api, noun: Noun) -> None:
        for query in (
            "colour=red",
            "limit=0",
            "limit=x",
            "limit=1001",
            "ordering=colour",
            "after=zzz",
            "limit=1&limit=2",
            "search=%00",
        ):
            answer = api.get(f"{noun.section}/?{query}")
            refused(answer, 400, "bad_request")
            assert answer.places()

    def test_nobody_may_read_or_write_it_without_saying_who_they_are(self, cast: Cast, noun: Noun) -> None:
        path = make(cast.root, noun)
        for answer in (
            cast.nobody.get(f"{noun.section}/"),
            cast.nobody.get(path),
            cast.nobody.post(f"{noun.section}/", noun.line),
        ):
            refused(answer, 401, "unauthenticated")
            assert "Bearer" in answer.headers["WWW-Authenticate"]

    def test_charlie_is_refused_everywhere_and_nothing_changes(self, cast: Cast, noun: Noun) -> None:
        path = make(cast.root, noun)
        line = cast.root.get(path).json
        rows = cast.root.all(f"{noun.section}/")
        for answer in (
            cast.charlie.get(f"{noun.section}/"),
            cast.charlie.get(path),
            cast.charlie.get(item(noun.section, "nobody-has-it")),
            cast.charlie.post(f"{noun.section}/", noun.line),
            cast.charlie.put(path, noun.changed),
            cast.charlie.patch(path, noun.patch),
            cast.charlie.patch(item(noun.section, "nobody-has-it"), noun.patch),
            cast.charlie.delete(path),
            cast.charlie.delete(item(noun.section, "nobody-has-it")),
        ):
            refused(answer, 403, "forbidden")
        assert cast.root.get(path).json == line
        assert cast.root.all(f"{noun.section}/") == rows

    def test_a_plain_key_may_only_ask(self, cast: Cast, noun: Noun) -> None:
        path = make(cast.root, noun)
        for answer in (cast.plain_key.get(f"{noun.section}/"), cast.plain_key.get(path), cast.plain_key.delete(path)):
            refused(answer, 403, "forbidden")

    def test_an_administrators_key_manages_it(self, cast: Cast, noun: Noun) -> None:
        path = make(cast.admin_key, noun)
        assert cast.admin_key.put(path, noun.changed).status == 200
        assert cast.admin_key.delete(path).status == 204

    def test_alice_manages_it(self, cast: Cast, noun: Noun) -> None:
        if noun.section == "realms":
            refused(cast.alice.post("realms/", noun.line), 403, "forbidden")
            assert cast.alice.put("realms/default/", {"name": "default", "settings": {"staleness_s": 0.2}}).status == 200
            return
        path = make(cast.alice, noun)
        assert cast.alice.get(path).status == 200
        # A private node is out of reach from above, for who made it so as well.
        assert cast.alice.put(path, {key: value for key, value in noun.changed.items() if key != "inherit"}).status == 200
        assert cast.alice.delete(path).status == 204

    def test_a_path_without_its_slash_says_so(self, cast: Cast, noun: Noun) -> None:
        answer = cast.root.post(noun.section, noun.line)
        refused(answer, 404, "not_found")
        assert "slash" in answer.problem["detail"]

    def test_a_method_it_does_not_take_is_a_problem_too(self, api: Api, noun: Noun) -> None:
        refused(api.delete(f"{noun.section}/"), 405, "method_not_allowed")
        refused(api.post(make(api, noun), noun.line), 405, "method_not_allowed")


def test_every_writable_noun_is_in_this_table() -> None:
    from permissions.api.urls import NOUNS as VIEWS
    from permissions.api.writable import WritableNoun

    assert {view.section for view in VIEWS if issubclass(view, WritableNoun)} == {noun.section for noun in NOUNS}
    assert Realm._meta.model_name == "realm"
