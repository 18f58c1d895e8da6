"""What boards say, and what actions do, while the store that all processes share is killed and when it is back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.services import boards
from permissions.models import AuditEvent
from permsite.launcher import Launcher, Server
from resilience import registry
from resilience.lock import LockFactory
from resilience.storage import close_default, use_default
from resilience.storage.failover import FailoverStore
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore
from tests.permissions.api.world import Cast, refused

BREAKERS, BULKHEADS, LOCKS, LIMITS = "system/breakers", "system/bulkheads", "system/locks", "system/limits"
