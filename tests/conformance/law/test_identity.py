"""Section "Identity": how entities are written, who is known, teams as subjects."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from permissions import pdp
from permissions.errors import Refused
from tests.conformance.law.world import holds, law, malformed, refuses
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_an_entity_is_split_at_its_first_colon_and_its_id_may_hold_more() -> None:
    law(
        """
        resources: [{id: "repo:openfga/openfga"}, {id: "arn:aws:s3:::bucket/*x", parent: "repo:openfga/openfga"}]
        bindings: [{subject: "user:a:b:c", allow: ["repo:read"], scope: "repo:openfga/openfga"}]
        """,
        """
        user:a:b:c repo:read repo:openfga/openfga = granted
        user:a:b:c repo:read arn:aws:s3:::bucket/*x = granted
        user:a:b repo:read repo:openfga/openfga = unknown_subject
        user:a:b:c repo:read - = no_grant
        """,
    )


def test_identity_is_byte_exact_and_case_sensitive() -> None:
    law(
        """
        roles: [{name: Editor, permissions: ["post:Edit"]}, {name: editor, permissions: ["post:edit"]}]
        resources: [{id: "Post:7"}, {id: "post:7"}]
        subjects: [{id: "user:ALICE"}]
        bindings:
          - {subject: "user:Alice", role: Editor, scope: "Post:7"}
          - {subject: "user:alice", role: editor, scope: "post:7"}
        """,
        """
        user:Alice post:Edit Post:7 = granted
        user:Alice post:Edit post:7 = no_grant
        user:Alice post:edit Post:7 = no_grant
        user:alice post:edit post:7 = granted
        user:alice post:Edit post:7 = no_grant
        user:ALICE post:edit post:7 = no_grant
        User:alice post:edit post:7 = unknown_subject
        user:aLICE post:edit post:7 = unknown_subject
        user:alice POST:edit post:7 = unknown_permission
        """,
    )


BAD = (
    "user:a\u0000b",
    "user:a\nb",
    "user: alice",
    "user:alice ",
    " user:alice",
    "user:e\u0301",
    "user",
    "user:",
    ":a",
    "",
    "user:\u0085x",
)


def test_text_that_is_not_plain_is_refused_at_every_door() -> None:
    law('bindings: [{subject: "user:alice", allow: ["post:edit"]}]')
    for text in BAD:
        malformed(text, "post:edit")
        malformed("user:alice", "post:edit", text)
        written = text.replace("\u0000", "\\0").replace("\n", "\\n").replace("\u0085", "\\u0085")
        for section in (
            f'subjects: [{{id: "{written}"}}]',
            f'resources: [{{id: "{written}"}}]',
            f'teams: [{{id: "team:x", members: ["{written}"]}}]',
            f'bindings: [{{subject: "{written}", allow: ["post:edit"]}}]',
        ):
            refuses(section)
    assert pdp.check("user:alice", "post:edit")


CODES = ["post", "post:", ":edit", "post:ed\nit", "post: edit", "post:edit ", "post:e\u0301", "post:*", "post:?", "*"]


def test_a_code_that_is_none_is_a_malformed_request() -> None:
    law('bindings: [{subject: "user:alice", allow: ["*"]}]')
    for code in CODES:
        malformed("user:alice", code)


def test_a_star_as_id_is_malformed_and_other_stars_are_ids() -> None:
    law('bindings: [{subject: "user:*", allow: ["post:edit"]}, {subject: "user:a*", allow: ["post:read"]}]')
    malformed("user:*", "post:edit")
    malformed("user:a*", "post:edit", "post:*")
    holds(
        """
        user:a* post:edit - = granted
        user:a* post:read - = granted
        """
    )


def test_a_django_user_is_a_subject_from_the_moment_it_is_written() -> None:
    User.objects.create_user("dana")
    law(
        'bindings: [{subject: "user:*", allow: ["post:read"]}]\npermissions: [{code: "post:edit"}]',
        """
        user:dana post:read - = granted
        user:dana post:edit - = no_grant
        user:erik post:read - = unknown_subject
        """,
    )


def test_a_deactivated_django_user_is_an_inactive_subject() -> None:
    user = User.objects.create_user("dana")
    law('bindings: [{subject: "user:dana", allow: ["post:read"]}]', "user:dana post:read - = granted")
    user.is_active = False
    user.save()
    # Django's own save is no write of ours: other answers may be as old as the bound, one that asks for the newest state is not.
    holds("user:dana post:read - = subject_inactive", full=True)


EVERYONE = """
permissions: [{code: "post:read"}, {code: "post:edit"}, {code: "post:ban"}]
subjects: [{id: "user:bob"}, {id: "service:ci"}]
teams: [{id: "team:eng", members: ["user:bob"]}]
bindings:
  - {subject: "user:*", allow: ["post:read", "post:ban"]}
  - {subject: "user:*", deny: ["post:ban"]}
  - {subject: "team:eng", allow: ["post:edit"]}
"""


def test_everyone_of_a_type_means_every_known_subject_of_that_type() -> None:
    law(
        EVERYONE,
        """
        user:bob post:read - = granted
        user:bob post:ban - = explicit_deny
        service:ci post:read - = no_grant
        team:eng post:read - = no_grant
        user:stranger post:read - = unknown_subject
        """,
    )


def test_a_realm_may_let_everyones_bindings_reach_a_stranger() -> None:
    law(
        EVERYONE + "unknown_subjects: everyone\n",
        """
        user:stranger post:read - = granted
        user:stranger post:ban - = explicit_deny
        user:stranger post:edit - = no_grant
        service:stranger post:read - = denied
        """,
        searched=False,  # a search lists the entities that are there
    )


def test_asserted_teams_make_a_subject_known_for_an_override_key_alone() -> None:
    law(EVERYONE)
    teams = {"teams": ["team:eng"]}
    holds("user:stranger post:edit - = granted", subject_properties=teams, asserted="override")
    holds("user:stranger post:edit - = unknown_subject", subject_properties=teams, asserted="fill")
    holds("user:stranger post:edit - = unknown_subject", subject_properties=teams, asserted="ignore")
    holds("service:ci post:edit - = granted", subject_properties=teams, asserted="override")
    holds("service:ci post:edit - = no_grant", subject_properties=teams, asserted="fill")
    holds("user:stranger post:edit - = unknown_subject", asserted="override")


def test_an_asserted_team_brings_its_own_teams_and_its_denies() -> None:
    law(
        """
        teams: [{id: "team:all", members: ["team:eng"]}, {id: "team:eng"}, {id: "team:barred"}]
        subjects: [{id: "user:bob"}]
        bindings:
          - {subject: "team:all", allow: ["post:read"]}
          - {subject: "team:barred", deny: ["post:read"]}
        """
    )
    holds("user:bob post:read - = granted", subject_properties={"teams": ["team:eng"]}, asserted="override")
    both = {"teams": ["team:eng", "team:barred"]}
    holds("user:bob post:read - = explicit_deny", subject_properties=both, asserted="override")


def test_a_team_may_be_the_subject_of_a_check() -> None:
    law(
        """
        teams: [{id: "team:all", members: ["team:eng", "group:ops"]}, {id: "team:eng", members: ["user:bob"]}, {id: "group:ops"}]
        bindings:
          - {subject: "team:all", allow: ["post:read"]}
          - {subject: "team:eng", allow: ["post:edit"]}
          - {subject: "user:bob", allow: ["post:own"]}
          - {subject: "group:*", allow: ["post:group"]}
        """,
        """
        team:eng post:read - = granted
        team:eng post:edit - = granted
        team:eng post:own - = no_grant
        team:all post:edit - = no_grant
        group:ops post:read - = granted
        group:ops post:group - = granted
        team:eng post:group - = no_grant
        user:bob post:read - = granted
        user:bob post:edit - = granted
        """,
    )


CYCLES = [
    'teams: [{id: "team:a", members: ["team:a"]}]',
    'teams: [{id: "team:a", members: ["team:b"]}, {id: "team:b", members: ["team:c"]}, {id: "team:c", members: ["team:a"]}]',
    "roles: [{name: a, inherits: [a]}]",
    "roles: [{name: a, inherits: [b]}, {name: b, inherits: [c]}, {name: c, inherits: [a]}]",
    'resources: [{id: "a:1", parent: "a:1"}]',
    'resources: [{id: "a:1", parent: "a:2"}, {id: "a:2", parent: "a:1"}]',
    'permissions: [{code: "a:x", requires: ["a:y"]}, {code: "a:y", requires: ["a:x"]}]',
    'permissions: [{code: "a:x", requires: ["a:x"]}]',
]


def test_a_cycle_is_refused_on_write() -> None:
    for bundle in CYCLES:
        with pytest.raises(Refused):
            apply(bundle)


def test_a_diamond_is_no_cycle() -> None:
    law(
        """
        roles:
          - {name: top, inherits: [l, r]}
          - {name: l, inherits: [base]}
          - {name: r, inherits: [base]}
          - {name: base, permissions: ["post:read"]}
        teams:
          - {id: "team:t", members: ["team:l", "team:r"]}
          - {id: "team:l", members: ["user:u"]}
          - {id: "team:r", members: ["user:u"]}
        bindings: [{subject: "team:t", role: top}]
        """,
        "user:u post:read - = granted",
    )
