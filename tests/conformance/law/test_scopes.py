"""Section "Scopes"."""

from __future__ import annotations

import pytest

from permissions import pdp
from permissions.errors import Refused
from permissions.models import Realm
from permissions.revisions import head
from tests.conformance.law.world import holds, law, malformed
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

TREE = """
permissions: [{code: "m:read"}, {code: "m:send"}]
resources:
  - {id: "server:7"}
  - {id: "channel:9", parent: "server:7"}
  - {id: "thread:1", parent: "channel:9"}
  - {id: "channel:private", parent: "server:7", inherit: false}
  - {id: "thread:2", parent: "channel:private"}
  - {id: "thread:secret", parent: "channel:private", inherit: false}
  - {id: "server:8"}
"""


def test_a_binding_reaches_its_node_and_everything_below() -> None:
    law(
        TREE
        + """
bindings:
  - {subject: "user:u", allow: ["m:read"], scope: "server:7"}
  - {subject: "user:c", allow: ["m:read"], scope: "channel:9"}
  - {subject: "user:r", allow: ["m:read"]}
""",
        """
        user:u m:read server:7 = granted
        user:u m:read channel:9 = granted
        user:u m:read thread:1 = granted
        user:u m:read server:8 = no_grant
        user:u m:read - = no_grant
        user:u m:read thread:unseen = no_grant
        user:c m:read server:7 = no_grant
        user:c m:read thread:1 = granted
        user:r m:read thread:1 = granted
        user:r m:read - = granted
        user:r m:read thread:unseen = granted
        """,
        searched=False,
    )


def test_without_propagation_a_binding_reaches_its_node_alone() -> None:
    law(
        TREE
        + """
bindings:
  - {subject: "user:s", allow: ["m:read"], scope: "server:7", propagate: false}
  - {subject: "user:r", allow: ["m:read"], propagate: false}
  - {subject: "user:d", allow: ["m:read"]}
  - {subject: "user:d", deny: ["m:read"], scope: "channel:9", propagate: false}
  - {subject: "user:e", allow: ["m:read"]}
  - {subject: "user:e", deny: ["m:read"], propagate: false}
""",
        """
        user:s m:read server:7 = granted
        user:s m:read channel:9 = no_grant
        user:s m:read - = no_grant
        user:r m:read - = granted
        user:r m:read server:7 = no_grant
        user:r m:read thread:1 = no_grant
        user:d m:read channel:9 = explicit_deny
        user:d m:read thread:1 = granted
        user:d m:read server:7 = granted
        user:e m:read - = explicit_deny
        user:e m:read server:7 = granted
        """,
    )


def test_no_allow_from_above_reaches_a_private_node_or_what_lies_below() -> None:
    law(
        TREE
        + """
teams: [{id: "team:t", members: ["user:t"]}]
roles: [{name: all, permissions: ["*"]}]
bindings:
  - {subject: "user:r", role: all}
  - {subject: "user:s", allow: ["m:read"], scope: "server:7"}
  - {subject: "team:t", role: all}
  - {subject: "user:p", allow: ["m:read"], scope: "channel:private"}
  - {subject: "user:x", allow: ["m:read"], scope: "thread:secret"}
  - {subject: "user:y", allow: ["m:read"], scope: "thread:2"}
  - {subject: "user:n", allow: ["m:read"], scope: "channel:private", propagate: false}
""",
        """
        user:r m:read channel:private = no_grant
        user:r m:read thread:2 = no_grant
        user:r m:read thread:secret = no_grant
        user:r m:read channel:9 = granted
        user:s m:read channel:private = no_grant
        user:s m:read thread:2 = no_grant
        user:t m:read thread:2 = no_grant
        user:p m:read channel:private = granted
        user:p m:read thread:2 = granted
        user:p m:read thread:secret = no_grant
        user:x m:read thread:secret = granted
        user:x m:read channel:private = no_grant
        user:y m:read thread:2 = granted
        user:n m:read channel:private = granted
        user:n m:read thread:2 = no_grant
        """,
    )


def test_denies_from_above_still_reach_a_private_node() -> None:
    law(
        TREE
        + """
teams: [{id: "team:t", members: ["user:t"]}]
roles: [{name: barring, deny: ["m:*"]}]
bindings:
  - {subject: "user:*", allow: ["m:*"], scope: "channel:private"}
  - {subject: "user:*", allow: ["m:*"], scope: "thread:secret"}
  - {subject: "user:*", deny: ["m:send"], scope: "server:7"}
  - {subject: "user:r", deny: ["m:read"]}
  - {subject: "team:t", role: barring, scope: "server:7"}
  - {subject: "user:n", deny: ["m:read"], scope: "server:7", propagate: false}
""",
        """
        user:r m:read channel:private = explicit_deny
        user:r m:read thread:secret = explicit_deny
        user:t m:read thread:2 = explicit_deny
        user:n m:send thread:secret = explicit_deny
        user:n m:read channel:private = granted
        user:n m:read thread:secret = granted
        """,
    )


def test_moving_a_node_re_roots_its_subtree_in_one_revision() -> None:
    law(
        TREE + 'bindings: [{subject: "user:u", allow: ["m:read"], scope: "server:8"}]',
        """
        user:u m:read channel:9 = no_grant
        user:u m:read thread:1 = no_grant
        """,
    )
    before = head("default").rev
    law(
        'resources: [{id: "channel:9", parent: "server:8"}]',
        """
        user:u m:read channel:9 = granted
        user:u m:read thread:1 = granted
        """,
    )
    assert head("default").rev == before + 1
    law(
        'resources: [{id: "channel:9"}]',
        """
        user:u m:read channel:9 = no_grant
        user:u m:read thread:1 = no_grant
        """,
    )


def test_a_node_cannot_move_below_itself() -> None:
    law(TREE)
    with pytest.raises(Refused, match=r"server:7"):
        apply('resources: [{id: "server:7", parent: "thread:1"}]')
    assert pdp.check("user:nobody", "m:read", "thread:1").reason == "unknown_subject"


PARENT = (
    TREE
    + """
bindings:
  - {subject: "user:u", allow: ["m:read"], scope: "channel:9"}
  - {subject: "user:r", allow: ["m:read"]}
  - {subject: "user:d", allow: ["m:read"]}
  - {subject: "user:d", deny: ["m:read"], scope: "server:7"}
"""
)


def test_a_caller_may_name_the_parent_of_a_resource_never_seen() -> None:
    law(PARENT)
    under = {"parent": "channel:9"}
    for mode in ("fill", "override"):
        holds(
            """
            user:u m:read message:1 = granted
            user:r m:read message:1 = granted
            user:d m:read message:1 = explicit_deny
            """,
            resource_properties=under,
            asserted=mode,
        )
        holds("user:r m:read message:1 = no_grant", resource_properties={"parent": "thread:2"}, asserted=mode)
        holds("user:u m:read message:1 = no_grant", resource_properties={"parent": "server:7"}, asserted=mode)
        holds("user:r m:read message:1 = granted", resource_properties={"parent": "unseen:1"}, asserted=mode)
    holds(
        """
        user:u m:read message:1 = no_grant
        user:d m:read message:1 = granted
        """,
        resource_properties=under,
        asserted="ignore",
    )


def test_a_parent_cannot_be_named_for_a_resource_the_platform_knows() -> None:
    law(PARENT)
    for mode in ("fill", "override", "ignore"):
        holds("user:u m:read server:8 = no_grant", resource_properties={"parent": "channel:9"}, asserted=mode)
        holds("user:d m:read thread:1 = explicit_deny", resource_properties={"parent": "server:8"}, asserted=mode)


def test_a_malformed_parent_or_list_of_teams_is_a_malformed_request() -> None:
    law(PARENT)
    for parent in ("channel", "", 7, ["channel:9"], "channel:*", "channel: 9", ":9", {"type": "channel", "id": "9"}, None):
        malformed("user:u", "m:read", "message:1", resource_properties={"parent": parent}, asserted="fill")
    for teams in ("team:t", [7], {"a": "b"}, [None], None):
        malformed("user:u", "m:read", subject_properties={"teams": teams}, asserted="override")


def test_realms_share_nothing() -> None:
    law(PARENT)
    law(
        """
        realm: other
        permissions: [{code: "m:read"}, {code: "m:other"}]
        resources: [{id: "channel:9"}]
        bindings: [{subject: "user:o", allow: ["m:*"]}, {subject: "user:*", allow: ["m:other"]}]
        """,
        """
        user:o m:read channel:9 = granted
        user:u m:read channel:9 = unknown_subject
        user:o m:send channel:9 = unknown_permission
        """,
        realm="other",
    )
    holds(
        """
        user:o m:read channel:9 = unknown_subject
        user:u m:other - = unknown_permission
        user:u m:read channel:9 = granted
        """
    )
    assert {realm.name for realm in Realm.objects.all()} >= {"default", "other"}
