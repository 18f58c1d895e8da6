"""The realm of the views' tests: alice edits post 7, reads channel 3 and sees posts at the realm; charlie may nothing."""

from __future__ import annotations

WORLD = """
permissions:
  [{code: "post:view"}, {code: "post:edit"}, {code: "post:create"}, {code: "post:purge"}, {code: "post:mfa"},
   {code: "post:print"}, {code: "channel:read"}]
subjects: [{id: "user:alice"}, {id: "user:charlie"}]
resources: [{id: "post:7"}, {id: "post:8"}, {id: "channel:3"}]
bindings:
  - {subject: "user:alice", allow: ["post:view"]}
  - {subject: "user:alice", allow: ["post:edit"], scope: "post:7"}
  - {subject: "user:alice", allow: ["channel:read"], scope: "channel:3"}
  - {subject: "user:alice", allow: ["post:mfa"], condition: "context.mfa == true"}
  - {subject: "user:alice", allow: ["post:print"], obligations: [{id: a, type: notification, properties: {to: boss}}]}
"""
