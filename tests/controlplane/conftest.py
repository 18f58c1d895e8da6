"""The control plane's people, at the API's door; each test begins and ends with the defaults in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resilience import config
from resilience.storage import close_default, use_default
from resilience.storage.memory import MemoryStore
from tests.permissions.api.world import Cast, build
from tests.worlds import apply

# bob may see the configuration, and operate the switch; charlie may nothing.
OPERATOR = """
version: 1
realm: default
roles:
  - {name: watcher, permissions: ["permsite.config:view", "permsite.control:view"]}
  - {name: operator, inherits: [watcher], permissions: ["permsite.control:operate"]}
bindings:
  - {subject: "user:bob", role: operator}
"""


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    config.LIVE.reset()
    use_default(MemoryStore())
    yield
    close_default()
    config.LIVE.reset()


@pytest.fixture
def cast(db: None) -> Cast:
    found = build()
    apply(OPERATOR)
    return found
