"""Importing the kit does nothing: no socket, no thread, no Django, no settings."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import resilience
from resilience import redis_client

ROOT = Path(resilience.__file__).resolve().parent.parent

# Counts what the interpreter itself reports: sockets made, threads started, programs run. `%s` is what is imported.
PROBE = """
import sys, threading
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event in PROBED else None)
PROBED = {"socket.__new__", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork"}
start = threading.Thread.start
threading.Thread.start = lambda thread: (seen.append(thread.name), start(thread))
%s
assert seen == [], seen
assert threading.active_count() == 1, threading.enumerate()
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""


def modules_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter whose environment names no Django settings and no server."""
    done = subprocess.run([sys.executable, "-c", PROBE % code], cwd=ROOT, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_opens_nothing_and_needs_no_django() -> None:
    assert not {"django", "redis", "asyncio"} & modules_after("import resilience")


def test_every_public_name_can_be_had_without_a_socket_a_thread_or_django() -> None:
    modules = modules_after("import resilience; [getattr(resilience, name) for name in resilience.__all__]")
    assert "django" not in modules


def test_decorators_and_registry_open_nothing_before_the_first_call() -> None:
    code = """
from resilience.decorators import bulkhead, circuit_breaker, degradable, rate_limit
import resilience.registry
@degradable(fallback=lambda: 0)
@circuit_breaker("billing")
@rate_limit("login", key="all", limit=1, period_s=1.0)
@bulkhead("reports", max_concurrent=1)
def call(): ...
"""
    assert "django" not in modules_after(code)


def test_the_module_of_the_clients_is_also_the_function_it_is_named_after() -> None:
    modules = modules_after("from resilience import redis_client; redis_client('redis://127.0.0.1:1', role='decision')")
    assert "django" not in modules
    function: Any = redis_client  # to a type checker it is the module alone
    made = function("unix:///tmp/nobody.sock", asynchronous=True)
    assert type(made) is redis_client.AsyncClient
    assert redis_client.redis_client.__module__ == redis_client.__name__ == "resilience.redis_client"


def test_the_probe_sees_a_socket_and_a_thread() -> None:
    for code in ("import socket; socket.socket().close()", "import threading; threading.Thread(target=int).start()"):
        done = subprocess.run([sys.executable, "-c", PROBE % code], cwd=ROOT, env={}, capture_output=True, text=True, check=False)
        assert "AssertionError" in done.stderr


def test_names_for_readers_and_names_for_type_checkers_are_the_same() -> None:
    tree = ast.parse(Path(resilience.__file__).read_text(encoding="utf-8"))
    checked = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert checked == {(home, name) for name, home in resilience._HOME_OF.items()}
    assert sorted(resilience.__all__) == sorted(resilience._HOME_OF)
    assert {getattr(resilience, name).__name__ for name in resilience.__all__} == set(resilience.__all__)


def test_a_name_it_does_not_have_is_an_attribute_error_and_modules_still_import() -> None:
    from resilience import clock

    assert clock.__name__ == "resilience.clock"
    try:
        _ = resilience.NoSuchThing
    except AttributeError as error:
        assert "NoSuchThing" in str(error)
    else:
        raise AssertionError("found")
