"""Django's cache as the settings choose it: one contract on a server and on a cluster, and what a lost store does to a page."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.views.decorators.cache import cache_page

from permsite.settings import cache as cache_settings
from resilience import django_cache
from resilience.redis_client import node_client, redis_client
from tests.resilience.clients.conftest import counted

pytestmark = pytest.mark.cluster

Use = Callable[[str], Any]


@pytest.fixture
def prefix(key_prefix) -> str:
    """Without colons: django-redis finds the key's own part behind the second one."""
    return key_prefix.replace(":", "-")


@pytest.fixture
def use(settings, prefix) -> Iterator[Use]:
    """The cache of a URL, under the test's own key prefix."""

    def chosen(url: str, **options: Any) -> Any:
        entry = cache_settings(url)
        settings.CACHES = {"default": {**entry, "KEY_PREFIX": prefix, "OPTIONS": {**entry["OPTIONS"], **options}}}
        caches.settings = caches.configure_settings(None)
        del_connections()
        return caches["default"]

    yield chosen
    caches.settings = caches.configure_settings(None)
    del_connections()
    django_cache._clients.clear()


def del_connections() -> None:
    made: Any = caches
    for alias in list(made.settings):
        if hasattr(made._connections, alias):
            delattr(made._connections, alias)


class TestEveryStore:
    @pytest.fixture(params=["standalone", "cluster"])
    def url(self, request, valkey_url, cluster_url) -> str:
        return valkey_url if request.param == "standalone" else cluster_url

    @pytest.fixture
    def cache(self, url, use) -> Any:
        return use(url, TIMEOUT_S=5.0)

    def test_one_key(self, cache):
        assert cache.get("a") is None and cache.get("a", 7) == 7
        assert cache.set("a", {"any": ["value", 1, None]}) is True
        assert cache.get("a") == {"any": ["value", 1, None]} and cache.has_key("a") and "a" in cache
        assert cache.add("a", 2) is False and cache.add("b", 2) is True
        assert cache.delete("a") is True and cache.delete("a") is False
        assert cache.get_or_set("c", lambda: 3) == 3 and cache.get("c") == 3

    def test_many_keys_of_any_slot(self, cache):
        many = {f"k{number}": number for number in range(50)}
        cache.set_many(many)
        assert cache.get_many([*many, "absent"]) == many and cache.get_many([]) == {}
        assert cache.delete_many(["k0", "k1", "absent"]) == 2 and cache.delete_many([]) == 0
        assert cache.get_many(many) == {name: value for name, value in many.items() if value > 1}

    def test_every_key_is_found_wherever_it_lies(self, cache):
        cache.set_many({f"k{number}": 1 for number in range(50)})
        cache.set("other", 1)
        assert sorted(cache.keys("k*")) == sorted(f"k{number}" for number in range(50))
        assert len(list(cache.iter_keys("*"))) == 51
        assert cache.delete_pattern("k*") == 50 and cache.keys("*") == ["other"]

    def test_numbers_times_and_versions(self, cache):
        cache.set("n", 1, timeout=60)
        assert cache.incr("n") == 2 and cache.incr("n", 5) == 7 and cache.decr("n", 2) == 5
        assert 0 < cache.ttl("n") <= 60 and cache.touch("n", 600) is True and cache.ttl("n") > 60
        assert cache.touch("absent") is False and cache.persist("n") and cache.ttl("n") is None
        with pytest.raises(ValueError, match="not found"):
            cache.incr("absent")
        assert cache.incr_version("n") == 2 and cache.get("n") is None and cache.get("n", version=2) == 5
        cache.set("gone", 1, timeout=0)
        assert cache.get("gone") is None

    def test_hashes_sets_and_locks(self, cache):
        assert cache.hset("h", "field", [1]) == 1 and cache.hlen("h") == 1 and cache.hexists("h", "field")
        assert cache.sadd("s", 1, "two") == 2 and cache.smembers("s") == {1, "two"}
        with cache.lock("l", timeout=10):
            assert not cache.lock("l", timeout=10, blocking=False).acquire()
        assert cache.lock("l", timeout=10, blocking=False).acquire()

    def test_clear_leaves_what_is_not_the_caches(self, cache, url, prefix):
        with redis_client(url) as client:
            client.set(f"{prefix}x:limit", "of another")
            cache.set_many({f"k{number}": 1 for number in range(50)})
            cache.set("k", 1, version=9)
            cache.clear()
            assert cache.keys("*") == [] and cache.get("k", version=9) is None
            assert client.get(f"{prefix}x:limit") == b"of another"
            client.delete(f"{prefix}x:limit")

    def test_every_cache_object_of_a_process_shares_one_client(self, cache, url, use):
        cache.set("a", 1)
        again = use(url, TIMEOUT_S=5.0)
        assert again is not cache and again.get("a") == 1
        assert again.client.get_client()._target is cache.client.get_client()._target
        cache.close()
        assert again.get("a") == 1


def _page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("the page")


def every_call(cache: Any) -> list[Any]:
    """One of each kind; a miss or nothing of all of them."""
    return [
        *(
            cache.get("a"),
            cache.set("a", 1),
            cache.add("a", 1),
            cache.delete("a"),
            cache.has_key("a"),
            cache.get_many(["a", "b"]),
        ),
        *(cache.set_many({"a": 1, "b": 2}), cache.delete_many(["a"]), cache.incr("a"), cache.touch("a"), cache.ttl("a")),
        *(cache.keys("*"), list(cache.iter_keys("*")), cache.delete_pattern("*"), cache.clear(), cache.hset("h", "f", 1)),
        *(cache.sadd("s", 1), cache.persist("a"), cache.expire("a", 1), cache.incr_version("a")),
    ]


@pytest.mark.parametrize(
    "url", ["unix:///nowhere/v.sock", "redis+cluster://127.0.0.1:1,127.0.0.1:2/", "redis+sentinel://127.0.0.1:1/m/0"]
)
def test_a_store_that_is_gone_is_a_miss_and_breaks_no_page(use, url):
    before = counted("resilience_cache_errors_total")
    cache = use(url)
    assert not any(every_call(cache))
    assert cache.get("a", "default") == "default" and cache.get_or_set("a", 3) == 3
    response = cache_page(60)(_page)(RequestFactory().get("/"))
    assert response.status_code == 200 and response.content == b"the page"
    assert counted("resilience_cache_errors_total") >= before + 20


@pytest.mark.chaos
@pytest.mark.parametrize("is_known", [True, False])
def test_a_store_that_hangs_is_a_miss_and_breaks_no_page(use, launcher, is_known):
    server = launcher.redis()
    cache = use(server.url)
    if is_known:
        cache.set("a", 1)
    pid = server.processes[0].pid
    with node_client(server.url) as node:
        pid = node.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not any(every_call(cache))
        assert cache_page(60)(_page)(RequestFactory().get("/")).status_code == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    # Again: nothing was left behind on a connection, and no value of another call is read.
    while not cache.set("b", 2):
        pass  # 0.1 s may be short for a machine under load
    while (found := cache.get("b")) is None:
        pass
    assert found == 2


def test_a_lock_on_a_store_that_is_gone_is_no_lock(use):
    with pytest.raises(redis.ConnectionError):
        use("unix:///nowhere/v.sock").lock("l").acquire()


def test_errors_are_told_where_the_settings_say_so(use):
    cache = use("unix:///nowhere/v.sock", IGNORE_EXCEPTIONS=False)
    for call in (lambda: cache.get("a"), lambda: cache.touch("a"), lambda: cache.keys("*"), lambda: list(cache.iter_keys("*"))):
        with pytest.raises(redis.ConnectionError):
            call()
