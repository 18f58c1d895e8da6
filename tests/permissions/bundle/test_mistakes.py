"""Every mistake of a bundle is named at once, with its line and its place."""

from __future__ import annotations

import pytest

from permissions.bundle.reader import read
from permissions.errors import Invalid, Problem

TWENTY_AND_MORE = """\
version: 2
relm: default
combining: deny_override
settings: {staleness_s: 5, suspended: "no"}
permissions:
  - {code: "post:*"}
  - {code: "permsite.role:view"}
  - {code: "post:edit", requires: ["post:edit"]}
  - {title: Without a code}
  - {code: "post:read", critical: 1}
roles:
  - name: editor
    permisions: ["post:edit"]
  - name: editor
    permissions: ["post:edit", "post:edit", "post::x"]
  - {name: a, inherits: [b]}
  - {name: b, inherits: [a]}
  - {name: c, permissions: [{code: "post:edit", condition: "contxt.mfa == true"}]}
  - {name: d, valid_from: "2026-06-01", valid_until: "2026-05-01T00:00:00"}
  - {name: e, obligations: [{id: x}]}
subjects:
  - {id: alice}
  - {id: "user:*"}
  - {id: "team:eng"}
  - {id: "user:bob", attributes: [1]}
teams:
  - {id: "team:eng", members: ["user:bob", {id: "user:bob"}, "team:eng"]}
resources:
  - {id: "channel:1", parent: "channel:1"}
  - {id: "channel:2 "}
bindings:
  - {subject: "user:alice"}
  - {subject: "user:alice", role: editor, deny: ["post:edit"]}
  - {role: editor}
  - {subject: "user:alice", role: editor, valid_from: "2027-01-01T00:00:00Z", valid_until: "2026-01-01T00:00:00Z"}
  - {subject: "user:alice", role: editor, propagate: yes}
  - user:alice
reason: x
reason: y
"""

EXPECTED = [
    (1, "version", "must be 1, not 2"),
    (2, "relm", "unknown key 'relm'; did you mean 'realm'?"),
    (3, "combining", "'deny_override' is not allowed; did you mean 'deny_overrides'?"),
    (4, "settings.staleness_s", "must lie between 0 and 0.5, not 5"),
    (4, "settings.suspended", "must be true or false, not a text"),
    (6, "permissions[0].code", "permission 'post:*' is a pattern; a concrete code is needed here"),
    (7, "permissions[1].code", "'permsite.role:view' belongs to the platform, which registers it everywhere"),
    (8, "permissions[2].requires[0]", "'post:edit' requires itself"),
    (9, "permissions[3]", "the key 'code' is missing"),
    (10, "permissions[4].critical", "must be true or false, not a number"),
    (13, "roles[0].permisions", "unknown key 'permisions'; did you mean 'permissions'?"),
    (14, "roles[1].name", "'editor' is described twice; first at roles[0]"),
    (15, "roles[1].permissions[1]", "'post:edit' is named twice; first at roles[1].permissions[0]"),
    (15, "roles[1].permissions[2]", "permission 'post::x' must be written resource_type:action, no segment empty"),
    (16, "roles[2].inherits", "inheritance run in a circle: 'a' → 'b' → 'a'"),
    (18, "roles[4].permissions[0].condition", "is not a condition that can be saved: character 1: unknown name 'contxt'"),
    (19, "roles[5].valid_from", "'2026-06-01' is not a date; write it as 2026-12-31T00:00:00Z"),
    (19, "roles[5].valid_until", "the date '2026-05-01T00:00:00' has no offset, so its instant is unknown; add Z for UTC"),
    (20, "roles[6].obligations", "item 0 must be an object with a text 'id' and a text 'type'"),
    (22, "subjects[0].id", "id 'alice' must be written type:id"),
    (23, "subjects[1].id", "id 'user:*': the id '*' means everyone"),
    (25, "subjects[3].attributes", "must be a JSON object, not list"),
    (27, "teams[0].members[1]", "'user:bob' is a member twice; first at teams[0].members[0]"),
    (27, "teams[0].members[2]", "the team 'team:eng' is a member of itself"),
    (27, "teams[0].id", "'team:eng' is listed as a subject (subjects[2]) and as a team; keep one"),
    (29, "resources[0].parent", "'channel:1' is its own parent"),
    (30, "resources[1].id", "id 'channel:2 ' begins or ends with a space"),
    (32, "bindings[0]", "names neither a role nor permissions to allow or deny"),
    (33, "bindings[1]", "names a role and deny; split it into two bindings"),
    (34, "bindings[2]", "the key 'subject' is missing"),
    (35, "bindings[3].valid_until", "must be later than valid_from"),
    (36, "bindings[4].propagate", "the plain word 'yes' means different things to YAML 1.1 and 1.2"),
    (37, "bindings[5]", "must be a mapping with keys such as 'subject', not a text"),
    (38, "reason", "unknown key 'reason'"),
    (39, "reason", "the key 'reason' is repeated; it stands on line 38 already"),
]


def problems_of(text: str, name: str = "bundle.yaml") -> list[Problem]:
    with pytest.raises(Invalid) as refusal:
        read(text, name=name)
    return list(refusal.value.problems)


@pytest.fixture(scope="module")
def found() -> list[Problem]:
    return problems_of(TWENTY_AND_MORE)


@pytest.mark.parametrize(("line", "where", "message"), EXPECTED, ids=lambda value: str(value)[:60])
def test_it_names_the_mistake_with_its_line_and_place(found: list[Problem], line: int, where: str, message: str) -> None:
    assert [p for p in found if (p.line, p.where) == (line, where) and p.message.startswith(message)], found


def test_it_names_no_other_mistake(found: list[Problem]) -> None:
    # `propagate: yes` is doubtful to the reader and no truth value to the schema: two messages, each true.
    assert len(found) == len(EXPECTED) + 1


def test_mistakes_come_in_the_order_of_their_lines(found: list[Problem]) -> None:
    assert [p.line for p in found] == sorted(p.line or 0 for p in found)


def test_a_message_says_line_and_place_first() -> None:
    [problem] = problems_of("version: 1\nroles: [{name: a, grups: []}]")
    assert str(problem) == "line 2, roles[0].grups: unknown key 'grups'; did you mean 'groups'?"


def test_json_mistakes_name_their_lines_too() -> None:
    text = '{\n "version": 1,\n "roles": [\n  {"name": "a",\n   "grups": []},\n  {"name": "b", "deny": [true]}\n ]\n}'
    assert [(p.line, p.where) for p in problems_of(text, "bundle.json")] == [(5, "roles[0].grups"), (6, "roles[1].deny[0]")]


@pytest.mark.parametrize("name", ["bundle.json", "bundle.yaml"])
def test_a_repeated_key_is_named_with_both_lines(name: str) -> None:
    text = '{"version": 1,\n "roles": [{"name": "a",\n  "name": "b"}]}'
    [problem] = problems_of(text, name)
    assert (problem.line, problem.where) == (3, "roles[0].name")
    assert "repeated; it stands on line 2 already" in problem.message


def test_an_empty_section_is_not_taken_for_an_absent_one() -> None:
    # With --prune the two differ: one leaves everything alone, the other removes everything.
    [problem] = problems_of("version: 1\nroles:\n")
    assert problem.where == "roles"
    assert "write [] for a list without items" in problem.message


def test_true_is_no_number_and_one_is_no_truth() -> None:
    assert [p.where for p in problems_of("version: true")] == ["version"]
    assert [p.where for p in problems_of('version: 1\nsubjects: [{id: "user:a", locked: 1}]')] == ["subjects[0].locked"]


def test_a_role_is_bound_to_everyone_of_a_type_and_is_no_member_or_resource() -> None:
    read('version: 1\nbindings: [{subject: "user:*", role: a}]', name="x")
    wrong = 'version: 1\nteams: [{id: "t:1", members: ["user:*"]}]\nbindings: [{subject: "user:a", role: a, scope: "x:*"}]'
    assert [p.where for p in problems_of(wrong)] == ["teams[0].members[0]", "bindings[0].scope"]


def test_platform_patterns_may_be_granted_and_their_codes_not_described() -> None:
    read('version: 1\nroles: [{name: a, permissions: ["permsite.*:*", "permsite.role:view"]}]', name="x")


@pytest.mark.parametrize(
    ("section", "line", "key"),
    [
        ("teams", '{id: "t:1", members: ["t:2"]}, {id: "t:2", members: ["t:1"]}', "teams[0].members"),
        ("resources", '{id: "a:1", parent: "a:2"}, {id: "a:2", parent: "a:1"}', "resources[0].parent"),
        ("permissions", '{code: "a:1", requires: ["a:2"]}, {code: "a:2", requires: ["a:1"]}', "permissions[0].requires"),
    ],
)
def test_a_circle_is_named_as_a_whole(section: str, line: str, key: str) -> None:
    [problem] = problems_of(f"version: 1\n{section}: [{line}]")
    assert problem.where == key
    assert "run in a circle" in problem.message
    assert problem.message.count("→") == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"0000-01-01T00:00:00Z"', "is not a date: year 0 is out of range"),
        ('"0001-01-01T00:00:00+01:00"', "lies outside the years 1 to 9999"),
        ('"9999-12-31T23:59:59-01:00"', "lies outside the years 1 to 9999"),
        ('"2026-02-30T00:00:00Z"', "is not a date: day is out of range for month"),
        ('"2026-01-01T00:00:00.1234567Z"', "is not a date; write it as"),
        ('"20260101T000000Z"', "is not a date; write it as"),
        ("2026-01-01", "is not a date; write it as"),
        ("1767225600", "must be a date, not a number"),
    ],
)
def test_a_date_is_an_instant_between_the_years_1_and_9999(value: str, message: str) -> None:
    [problem] = problems_of(f'version: 1\nbindings: [{{subject: "user:a", role: r, valid_until: {value}}}]')
    assert problem.where == "bindings[0].valid_until"
    assert message in problem.message


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-01-01t00:00:00+05:30"])
def test_dates_at_the_ends_of_time_are_read(value: str) -> None:
    bundle = read(f'version: 1\nbindings: [{{subject: "user:a", role: r, valid_until: "{value}"}}]', name="x")
    assert bundle.bindings is not None
    assert bundle.bindings[0].valid_until is not None


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("{a: .nan}", "is not JSON that can be stored"),
        ("{1: a}", "holds a key that is not a text"),
        ("{a: " + "[" * 17 + "]" * 17 + "}", "must not nest deeper than 16 levels"),
        ('{a: "' + "x" * 66_000 + '"}', "at most 65536 are allowed"),
        ('{a: "\\0"}', "must not contain U+0000"),
    ],
)
def test_attributes_are_bounded_json(attributes: str, message: str) -> None:
    [problem] = problems_of(f'version: 1\nsubjects: [{{id: "user:a", attributes: {attributes}}}]')
    assert problem.where == "subjects[0].attributes"
    assert message in problem.message


def test_a_condition_may_have_1024_characters_and_no_more() -> None:
    def bundle(length: int) -> str:
        text = "true" + " " * (length - 8) + "|| x"[:0] + "    "
        return f'version: 1\nbindings: [{{subject: "user:a", role: r, condition: "{text}"}}]'

    read(bundle(1024), name="x")
    [problem] = problems_of(bundle(1025))
    assert problem.message == "has 1025 characters; at most 1024 are allowed"


def test_more_than_a_thousand_mistakes_are_counted_and_not_listed() -> None:
    found = problems_of("version: 1\nroles:\n" + "- {nam: a}\n" * 1500)
    assert len(found) == 1001
    assert found[-1].message == "and 2,000 more problems"
