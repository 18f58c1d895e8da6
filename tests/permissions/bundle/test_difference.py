"""What a bundle changes, in which order, and how that is told to a person."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from permissions.bundle.diff import Change, diff, render
from permissions.bundle.names_used import implied
from permissions.bundle.reader import read
from permissions.bundle.specs import Bundle, RealmSpec, SubjectSpec, TeamSpec

EMPTY = Bundle(RealmSpec("default"))


def bundle(text: str) -> Bundle:
    return read(f"version: 1\n{text}", name="x")


def complete(text: str) -> Bundle:
    """As exported: every section present, with a line for all that is named."""
    given_ = bundle(text)
    also = implied(given_)
    return Bundle(
        given_.realm,
        permissions=(*(given_.permissions or ()), *(also.permissions or ())),
        groups=given_.groups or (),
        roles=given_.roles or (),
        subjects=(*(given_.subjects or ()), *(also.subjects or ())),
        teams=given_.teams or (),
        resources=(*(given_.resources or ()), *(also.resources or ())),
        bindings=given_.bindings or (),
    )


def steps(changes: list[Change]) -> list[tuple[str, str, str]]:
    return [(change.kind, change.section, change.id) for change in changes]


OLD = """
groups: [{name: g, permissions: ["post:read"]}]
roles: [{name: viewer, groups: [g]}, {name: editor, inherits: [viewer], permissions: ["post:edit"]}]
subjects: [{id: "user:alice"}, {id: "user:bob"}, {id: "user:charlie"}]
teams: [{id: "team:eng", members: ["user:bob"]}]
resources: [{id: "server:7"}, {id: "channel:9", parent: "server:7"}]
bindings: [{subject: "user:alice", role: editor, scope: "channel:9"}, {subject: "team:eng", role: viewer}]
"""


def test_naming_a_thing_brings_it_into_being() -> None:
    new = bundle('bindings: [{subject: "user:dora", allow: ["post:read", "post:*", "permsite.role:view"], scope: "channel:9"}]')
    assert steps(diff(EMPTY, new, prune=False))[:-1] == [
        ("add", "permissions", "post:read"),
        ("add", "subjects", "user:dora"),
        ("add", "resources", "channel:9"),
    ]


def test_everyone_of_a_type_is_no_subject_of_its_own() -> None:
    assert implied(bundle('bindings: [{subject: "user:*", role: viewer}]')).subjects == ()


def test_every_place_that_names_a_code_registers_it() -> None:
    new = bundle(
        'permissions: [{code: "a:1", requires: ["a:2"]}]\ngroups: [{name: g, permissions: ["a:3", "x:*"]}]\n'
        'roles: [{name: r, permissions: ["a:4"], exclude: ["a:5"], deny: [{code: "a:6", condition: "context.x"}]}]\n'
        'bindings: [{subject: "user:a", allow: ["a:7"], deny: ["a:8"]}]'
    )
    assert {p.code for p in implied(new).permissions or ()} == {f"a:{n}" for n in range(2, 9)}


def test_a_section_that_is_absent_is_left_alone() -> None:
    assert diff(complete(OLD), bundle(""), prune=True) == []
    assert diff(complete(OLD), bundle("roles: [{name: viewer, groups: [g]}]"), prune=False) == []


def test_without_prune_nothing_is_removed() -> None:
    assert diff(complete(OLD), bundle("roles: []\nbindings: []\nresources: []\nteams: []\nsubjects: []"), prune=False) == []


def test_a_line_is_exactly_as_the_bundle_says() -> None:
    [change] = diff(complete(OLD), bundle("roles: [{name: editor, inherits: [viewer]}]"), prune=False)
    assert (change.kind, change.id) == ("change", "editor")
    assert render([change]).startswith("~ role editor: permissions -post:edit\n")


def test_prune_removes_what_a_section_does_not_name_in_an_order_that_works() -> None:
    new = bundle("roles: []\ngroups: []\nsubjects: []\nteams: []\nresources: []\nbindings: []\npermissions: []")
    assert steps(diff(complete(OLD), new, prune=True)) == [
        ("remove", "bindings", '{"role": "editor", "scope": "channel:9", "subject": "user:alice"}'),
        ("remove", "bindings", '{"role": "viewer", "subject": "team:eng"}'),
        ("remove", "resources", "channel:9"),
        ("remove", "resources", "server:7"),
        ("remove", "teams", "team:eng"),
        ("remove", "subjects", "user:charlie"),
        ("remove", "subjects", "user:bob"),
        ("remove", "subjects", "user:alice"),
        ("remove", "roles", "editor"),
        ("remove", "roles", "viewer"),
        ("remove", "groups", "g"),
        ("remove", "permissions", "post:edit"),
        ("remove", "permissions", "post:read"),
    ]


def test_prune_keeps_what_the_bundle_names_elsewhere() -> None:
    new = bundle(
        'permissions: []\nsubjects: []\nresources: []\nroles: [{name: editor, permissions: ["post:edit"]}]\n'
        'bindings: [{subject: "user:alice", role: viewer, scope: "channel:9"}]'
    )
    removed = {(c.section, c.id) for c in diff(complete(OLD), new, prune=True) if c.kind == "remove"}
    # bob stays: the section of teams is absent, so his team is left alone, and with it its members.
    assert removed == {
        ("subjects", "user:charlie"),
        ("resources", "server:7"),
        ("bindings", '{"role": "editor", "scope": "channel:9", "subject": "user:alice"}'),
        ("bindings", '{"role": "viewer", "subject": "team:eng"}'),
    }


def test_prune_keeps_the_subjects_of_accounts() -> None:
    new = bundle("subjects: []\nbindings: []\nteams: []")
    removed = {c.id for c in diff(complete(OLD), new, prune=True, protected={"user:bob"}) if c.section == "subjects"}
    assert removed == {"user:alice", "user:charlie"}


def test_bindings_are_a_multiset() -> None:
    line = '{subject: "user:alice", role: viewer}'
    one, two = complete(f"bindings: [{line}]"), bundle(f"bindings: [{line}, {line}]")
    assert steps(diff(one, two, prune=True)) == [("add", "bindings", '{"role": "viewer", "subject": "user:alice"}')]
    assert len(diff(complete(f"bindings: [{line}, {line}]"), bundle(f"bindings: [{line}]"), prune=True)) == 1
    assert diff(one, bundle(f"bindings: [{line}]"), prune=True) == []


def test_the_order_of_a_set_is_no_difference_and_a_type_is() -> None:
    old = complete('roles: [{name: r, permissions: ["a:1", "a:2"]}]\nsubjects: [{id: "user:a", attributes: {x: 1}}]')
    assert diff(old, bundle('roles: [{name: r, permissions: ["a:2", "a:1"]}]'), prune=False) == []
    for other in ("true", "1.0", '"1"'):
        [change] = diff(old, bundle(f'subjects: [{{id: "user:a", attributes: {{x: {other}}}}}]'), prune=False)
        assert "attributes" in render([change])


def test_a_subject_may_become_a_team() -> None:
    old = complete('teams: [{id: "team:eng", members: ["team:ops"]}]')
    [change] = diff(old, bundle('teams: [{id: "team:ops", members: ["team:sre"]}]'), prune=False)[1:]
    assert (type(change.before), type(change.after)) == (SubjectSpec, TeamSpec)
    assert "~ team team:ops: becomes a team; members +team:sre" in render([change])


def test_a_team_that_a_binding_names_is_not_turned_into_a_subject() -> None:
    assert diff(complete(OLD), bundle('bindings: [{subject: "team:eng", role: viewer}]'), prune=True, protected=()) != []
    changes = diff(complete(OLD), bundle('subjects: []\nteams: []\nbindings: [{subject: "team:eng", role: viewer}]'), prune=True)
    assert "team:eng" not in {c.id for c in changes}


def test_realm_keys_that_are_not_given_are_left_alone() -> None:
    old = Bundle(RealmSpec("default", combining="overlay", suspended=True))
    assert diff(old, bundle("unknown_subjects: deny"), prune=True) == []
    [change] = diff(old, bundle("settings: {suspended: false}"), prune=False)
    assert change.after == RealmSpec("default", combining="overlay")
    assert render([change]).startswith('~ realm default: settings {"suspended": true} → null')


def test_a_tree_is_turned_over_without_a_circle_on_the_way() -> None:
    old = complete('resources: [{id: "n:1"}, {id: "n:2", parent: "n:1"}, {id: "n:3", parent: "n:2"}]')
    new = bundle('resources: [{id: "n:1", parent: "n:2"}, {id: "n:2", parent: "n:3"}, {id: "n:3"}]')
    assert [c.id for c in diff(old, new, prune=False)] == ["n:3", "n:2", "n:1"]


@settings(deadline=None)
@given(st.data())
def test_no_step_of_a_change_of_parents_closes_a_circle(data: st.DataObject) -> None:
    nodes = [f"n:{n}" for n in range(7)]

    def forest() -> dict[str, str | None]:
        order = data.draw(st.permutations(nodes))
        return {node: data.draw(st.sampled_from([None, *order[:place]])) for place, node in enumerate(order)}

    def lines(parents: dict[str, str | None]) -> str:
        return "resources: [" + ", ".join(f'{{id: "{n}"' + (f', parent: "{p}"}}' if p else "}") for n, p in parents.items()) + "]"

    before, after = forest(), forest()
    named = data.draw(st.sets(st.sampled_from(nodes)))
    after = {node: after[node] if node in named else before[node] for node in nodes}
    if any(_root_of(node, after) is None for node in nodes):
        return  # the two halves close a circle together: that is refused elsewhere
    new = bundle(lines({node: after[node] for node in named}) if named else "resources: []")
    now = dict(before)
    for change in diff(complete(lines(before)), new, prune=False):
        now[change.id] = after[change.id]
        assert all(_root_of(node, now) for node in nodes), change
    assert now == after


def _root_of(node: str, parents: dict[str, str | None]) -> str | None:
    for _ in range(len(parents) + 1):
        parent = parents.get(node)
        if parent is None:
            return node
        node = parent
    return None


def test_a_difference_is_told_in_lines_and_counts() -> None:
    old = complete(OLD)
    new = bundle(
        'roles: [{name: viewer, permissions: ["post:read", {code: "post:edit", condition: "context.mfa"}]}, {name: admin}]\n'
        'teams: [{id: "team:eng", members: [{id: "user:dora", valid_until: "2027-01-01T00:00:00Z"}]}]\n'
        'bindings: [{subject: "team:eng", role: viewer, propagate: false, reason: "because"}]'
    )
    assert render(diff(old, new, prune=True)).splitlines() == [
        "~ role viewer: permissions +post:read +post:edit (condition context.mfa); groups -g",
        "+ role admin",
        "+ 1 subject named by other lines: user:dora",
        "~ team team:eng: members +user:dora (valid_until 2027-01-01T00:00:00Z) -user:bob",
        '+ binding team:eng role viewer on the realm (propagate false, reason "because")',
        "- binding user:alice role editor on channel:9",
        "- binding team:eng role viewer on the realm",
        "- role editor",
        "3 added, 2 changed, 3 removed",
    ]


def test_thousands_of_changes_are_told_in_a_screen_or_two() -> None:
    roles = ", ".join(f'{{name: r{n}, permissions: ["p{n}:x"]}}' for n in range(2000))
    text = render(diff(EMPTY, bundle(f"roles: [{roles}]"), prune=False))
    assert len(text.splitlines()) < 60
    assert "+ 2,000 permissions named by other lines: p0:x, p1:x" in text
    assert "… 1,960 more roles added" in text
    assert text.endswith("4,000 added, 0 changed, 0 removed")


def test_no_change_is_said_too() -> None:
    assert render([]) == "nothing to change"
