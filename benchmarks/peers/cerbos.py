"""Cerbos: its server, with W1 as policies on disk. One policy a type, one rule an action, naming the roles that may.

Cerbos keeps no subjects: each question brings its subject's roles. Groups and patterns are written out, as its policies know
neither; a role with all of a type gets `*`, which they do know.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.peers import npm
from benchmarks.wire.serving import Served, running
from benchmarks.workloads.world import World

PACKAGE = "@cerbos/cerbos-linux-x64"
MOST = 500  # resources of one request: its own upper limit, where 50 is the default


def named() -> str:
    return f"Cerbos {npm.version(peers.FOLDER, PACKAGE)}"


def policies(world: World) -> list[dict[str, Any]]:
    """Policies may be written in JSON."""
    groups = {fact.name: fact.patterns for fact in world.model.groups}
    roles_of: dict[str, dict[str, set[str]]] = {}
    for fact in world.model.permissions:
        kind, _, action = fact.code.partition(":")
        roles_of.setdefault(kind, {}).setdefault(action, set())
    for role in world.model.roles:
        for pattern in [line.pattern for line in role.lines] + [code for name in role.groups for code in groups[name]]:
            kind, _, action = pattern.partition(":")
            roles_of[kind].setdefault(action, set()).add(role.name)
    return [
        {
            "apiVersion": "api.cerbos.dev/v1",
            "resourcePolicy": {
                "version": "default",
                "resource": kind,
                "rules": [
                    {"actions": [action], "effect": "EFFECT_ALLOW", "roles": sorted(roles)}
                    for action, roles in by_action.items()
                    if roles
                ],
            },
        }
        for kind, by_action in roles_of.items()
    ]


@contextmanager
def served(world: World, folder: Path, *, core: int | None) -> Iterator[Served]:
    home = folder / "cerbos"
    (home / "policies").mkdir(parents=True, exist_ok=True)
    for policy in policies(world):
        (home / "policies" / f"{policy['resourcePolicy']['resource']}.json").write_text(json.dumps(policy))
    address = f"127.0.0.1:{_free_port()}"
    configuration = {
        "server": {
            "httpListenAddr": address,
            "grpcListenAddr": f"unix:{home}/grpc.sock",
            "requestLimits": {"maxActionsPerResource": 100, "maxResourcesPerRequest": MOST},
        },
        "storage": {"driver": "disk", "disk": {"directory": str(home / "policies"), "watchForChanges": False}},
        "telemetry": {"disabled": True},
    }
    (home / "cerbos.json").write_text(json.dumps(configuration))
    program = npm.package(peers.FOLDER, PACKAGE) / "cerbos-linux-x64"
    argv = [str(program), "server", "--log-level=error", f"--config={home / 'cerbos.json'}"]
    with running("cerbos", argv, home, core=core, address=f"http://{address}", probe="/_cerbos/health") as found:
        yield found


def _free_port() -> int:
    """Cerbos does not tell which port the system chose for it, so one that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
