"""Boards read anew in each test, with strategies that the test declares, in a registry that begins as the site's does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controlplane.live import store as stores
from controlplane.live.memory import MemoryStore as LiveMemory
from controlplane.services import boards, forces
from resilience import config, registry
from tests.permissions.api.world import Api, Cast
from tests.worlds import apply

WATCHER = 'version: 1\nrealm: default\nbindings: [{subject: "user:charlie", role: watcher}]'


@pytest.fixture(autouse=True)
def _anew(_defaults: None) -> Iterator[None]:
    """Names that a test declares are gone after it; what another test saw is not shown to it."""
    shelves = registry.registry._shelves
    before = {section: dict(shelf._entries) for section, shelf in shelves.items()}
    stores.use(LiveMemory())
    boards.forget()
    yield
    config.LIVE.reset()
    for section, shelf in shelves.items():
        shelf._entries.clear()
        shelf._entries.update(before[section])
    forces._held.clear()
    stores.reset()
    boards.forget()


@pytest.fixture
def watcher(cast: Cast) -> Api:
    """charlie, who may look and do nothing."""
    apply(WATCHER)
    return cast.charlie


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Any) -> Callable[[], Any]:
    """`with committed():` what a test writes is announced as after a commit."""
    return lambda: django_capture_on_commit_callbacks(execute=True)
