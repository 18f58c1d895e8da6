"""The contract of what keeps a configuration: newer wins, what comes back is what was kept, and only ours is believed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resilience.config import ConfigStore, Snapshot, Untrusted
from resilience.config_sources import FileSource, MemorySource, RedisSource
from resilience.storage.memory import MemoryStore
from resilience.storage.redis import RedisStore

KEY, OTHER = (b"the key of this site, long",), (b"a key of somebody else's site",)
Maker = Callable[[tuple[bytes, ...]], ConfigStore]
SEALED = ["store in memory", "redis", pytest.param("cluster", marks=pytest.mark.cluster), "file"]


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    """Makes the source of one place, with a key."""
    kind: str = request.param
    if kind == "memory":
        only = MemorySource()
        yield lambda keys: only
    elif kind == "file":
        yield lambda keys: FileSource(tmp_path / "config.json", keys)
    else:
        store: Any = MemoryStore()
        if kind != "store in memory":
            url = request.getfixturevalue("cluster_url" if kind == "cluster" else "valkey_url")
            store = RedisStore(url, prefix=f"test:{uuid.uuid4().hex}:")
        yield lambda keys: RedisSource(store, keys)
        store.close()


def snapshot(epoch: int, version: int, reason: str = "x") -> Snapshot:
    return Snapshot(epoch, version, {"maintenance": {"mode": "full", "reason": reason, "until": 1.5}, "limiters": {}})


every = pytest.mark.parametrize("make", ["memory", *SEALED], indirect=True)
sealed = pytest.mark.parametrize("make", SEALED, indirect=True)


@every
def test_nothing_is_there_at_first(make: Maker) -> None:
    assert make(KEY).read() is None


@every
@pytest.mark.parametrize("text", ["plain", "名称 “x”", 'a "b" \\ c', "🦊"])
def test_what_comes_back_is_what_was_kept(make: Maker, text: str) -> None:
    assert make(KEY).put(snapshot(1, 1, text)) is True
    assert make(KEY).read() == snapshot(1, 1, text)


@every
def test_only_a_newer_one_replaces_it(make: Maker) -> None:
    source = make(KEY)
    epoch = 1_800_000_000_000_000  # as an epoch is: microseconds, 51 bits
    assert source.put(snapshot(epoch, 5))
    for older in (snapshot(epoch, 5, "another"), snapshot(epoch, 4), snapshot(epoch - 1, 99)):
        assert source.put(older) is False
        assert source.read() == snapshot(epoch, 5)
    for newer in (snapshot(epoch, 6), snapshot(epoch + 1, 1)):
        assert source.put(newer) is True
        assert source.read() == newer


@every
def test_force_replaces_whatever_is_there(make: Maker) -> None:
    source = make(KEY)
    source.put(snapshot(9, 9))
    assert source.put(snapshot(1, 1), force=True) is True
    assert source.read() == snapshot(1, 1)


@every
def test_two_readers_see_the_same(make: Maker) -> None:
    one, other = make(KEY), make(KEY)
    for version in (1, 2, 3):
        one.put(snapshot(1, version))
        assert other.read() == one.read() == snapshot(1, version)


@sealed
def test_another_seal_is_not_believed_unless_its_key_is_named(make: Maker) -> None:
    make(OTHER).put(snapshot(1, 1))
    with pytest.raises(Untrusted, match="sealed with another key"):
        make(KEY).read()
    assert make((*KEY, *OTHER)).read() == snapshot(1, 1)
