"""who_can and what_can answer exactly what check says, one by one."""

from __future__ import annotations

import pytest

from permissions import pdp
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

SUBJECTS = ["user:alice", "user:bob", "user:charlie", "user:dora"]
RESOURCES = [None, "blog:1", "post:7", "post:8"]
CODES = ["post:read", "post:edit", "post:purge", "blog:rename"]


@pytest.fixture(autouse=True)
def _office() -> None:
    pdp.reset()
    apply(OFFICE)
    apply(
        """
        subjects: [{id: "user:dora", locked: true}]
        bindings:
          - {subject: "user:dora", role: editor}
          - {subject: "user:*", allow: ["blog:*"], scope: "blog:1", propagate: false}
          - {subject: "user:charlie", deny: ["post:read"], scope: "post:7"}
          - {subject: "user:charlie", role: editor, scope: "blog:1", condition: "context.mfa == true"}
          - {subject: "user:alice", allow: ["blog:rename"]}
        """
    )


@pytest.mark.parametrize("context", [{}, {"mfa": True}])
def test_who_can_lists_whom_check_allows(context: dict[str, object]) -> None:
    for code in CODES:
        for resource in RESOURCES:
            expected = [s for s in SUBJECTS if pdp.check(s, code, resource, context=context)]
            assert pdp.who_can(code, resource, context=context) == expected, (code, resource)


@pytest.mark.parametrize("context", [{}, {"mfa": True}])
def test_what_can_lists_what_check_allows(context: dict[str, object]) -> None:
    for subject in SUBJECTS:
        for resource in RESOURCES[1:]:
            expected = {c for c in CODES if pdp.check(subject, c, resource, context=context)}
            found = {a.permission for a in pdp.what_can(subject, resource=resource, context=context)}
            assert found == expected, (subject, resource)


def test_a_team_is_listed_only_where_its_type_is_asked_for() -> None:
    assert pdp.who_can("post:read", "post:7") == ["user:alice", "user:bob"]
    assert pdp.who_can("post:read", "post:7", type="team") == ["team:writers"]
    assert pdp.who_can("post:read", "post:7", type="user") == ["user:alice", "user:bob"]
    assert pdp.who_can("post:read", "post:7", type="us") == []


def test_a_wildcard_is_never_listed() -> None:
    found = pdp.who_can("blog:rename", "blog:1")
    assert found == ["user:alice", "user:bob", "user:charlie"]


def test_a_search_takes_no_more_statements_for_more_subjects(django_assert_max_num_queries) -> None:
    apply("subjects:\n" + "\n".join(f'  - {{id: "user:u{n}"}}' for n in range(300)))
    pdp.check("user:alice", "post:read")
    with django_assert_max_num_queries(16):
        assert len(pdp.who_can("blog:rename", "blog:1")) == 303
