"""A realm from a bundle's text, through the real services."""

from __future__ import annotations

import textwrap

from permissions.bundle.reader import read
from permissions.services.bundles import Applied, bundle_apply
from permissions.writing import SYSTEM


def apply(text: str, *, realm: str | None = None, prune: bool = False, dry_run: bool = False) -> Applied:
    text = textwrap.dedent(text)
    if "version:" not in text:
        text = "version: 1\n" + text
    return bundle_apply(actor=SYSTEM, bundle=read(text, name="test.yaml"), realm_name=realm, prune=prune, dry_run=dry_run)


# alice administers, bob is in her team, charlie must be refused.
OFFICE = """
version: 1
realm: default
permissions:
  - {code: "post:read"}
  - {code: "post:edit", requires: ["post:read"]}
  - {code: "post:purge", critical: true}
roles:
  - {name: reader, permissions: ["post:read"]}
  - {name: editor, inherits: [reader], permissions: ["post:edit"]}
subjects:
  - {id: "user:alice"}
  - {id: "user:charlie"}
teams:
  - {id: "team:writers", members: ["user:bob"]}
resources:
  - {id: "blog:1"}
  - {id: "post:7", parent: "blog:1"}
  - {id: "post:8", parent: "blog:1", inherit: false}
bindings:
  - {subject: "user:alice", role: editor}
  - {subject: "team:writers", role: reader, scope: "blog:1"}
"""
