"""One run: its sizes, its servers, its realms (made when a row first needs them), and the children that measure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks import peers
from benchmarks.child import Child
from benchmarks.measure import ROUNDS
from benchmarks.site import Site
from benchmarks.wire import asking


@dataclass(frozen=True)
class Sizes:
    """How much of everything; `QUICK` is for the test that the rows still run, and says nothing about speed."""

    subjects: int = 10_000
    checks: int = 20_000
    django_checks: int = 1_500  # each of Django's users costs a millisecond to warm
    casbin_checks: int = 20  # each costs forty milliseconds
    agreed: int = 1_500
    casbin_agreed: int = 60
    large_subjects: int = 100_000
    million: int = 1_000_000
    w2_roles: int = 5_038
    cold: int = 400  # new subjects a round
    changes: int = 25
    workers: int = 3
    trace_s: float = 20.0
    trace_rate: float = 2_000.0  # checks a second in each worker
    writers_s: float = 2.0
    load_s: float = 2.0  # of a round over HTTP
    load_rounds: int = ROUNDS
    clients: int = 64  # connections that stay open
    batch: int = 200
    batches: int = 400
    batch_clients: int = 8  # enough to keep a server busy; more would queue for seconds before a slow one
    spicedb_agreed: int = 300  # each takes half a millisecond
    spicedb_batches: int = 10
    crowd: int = 1_000
    crowd_s: float = 5.0
    sockets: int = 200
    frames_s: float = 10.0
    events: int = 10_000


QUICK = Sizes(
    subjects=60,
    checks=200,
    django_checks=20,
    casbin_checks=2,
    agreed=60,
    casbin_agreed=5,
    large_subjects=300,
    million=3_000,
    w2_roles=40,
    cold=10,
    changes=2,
    workers=2,
    trace_s=0.6,
    trace_rate=100.0,
    writers_s=0.2,
    load_s=1.0,
    load_rounds=1,
    clients=4,
    batch=20,
    batches=5,
    batch_clients=2,
    spicedb_agreed=20,
    spicedb_batches=2,
    crowd=50,
    crowd_s=1.0,
    sockets=6,
    frames_s=1.0,
    events=400,
)


@dataclass
class Bench:
    site: Site
    sizes: Sizes = field(default_factory=Sizes)
    catalogues: str = ""
    missing: list[str] = field(default_factory=list)
    with_peers: bool = True
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    _database: str = ""
    _loader: Child | None = None

    @property
    def is_quick(self) -> bool:
        return self.sizes is QUICK

    @property
    def database(self) -> str:
        if not self._database:
            url = self.site.database("permsite_bench")
            self._loader = Child("benchmarks.sides.loader:Loader", self.site.environment(url)).ready()
            self._database = url
        return self._database

    def realm(self, name: str, kind: str, **sizes: Any) -> str:
        """The realm's name; its rows are there. What was loaded stands in `made`."""
        if name not in self.made:
            assert self.database and self._loader is not None
            self.made[name] = self._loader.call("load", kind=kind, realm=name, **sizes)
        return name

    def w1(self) -> str:
        return self.realm("w1", "w1", subjects=self.sizes.subjects, checks=self.sizes.checks)

    def w1_wire(self) -> str:
        """With stored resources, which a question over HTTP must name."""
        sizes = {"subjects": self.sizes.subjects, "checks": self.sizes.checks}
        return self.realm("w1-wire", "w1", **sizes, resources=asking.RESOURCES)

    def key(self, realm: str) -> str:
        """A new API key of the realm."""
        assert self.database and self._loader is not None
        return str(self._loader.call("key", realm=realm))

    def w1_large(self) -> str:
        return self.realm("w1-large", "w1", subjects=self.sizes.large_subjects, checks=0)

    def w2(self, name: str = "w2", subjects: int = 0) -> str:
        """All of its subjects, or as many as are named: its model is the same."""
        counted = subjects or self.sizes.million
        return self.realm(name, "w2", subjects=counted, checks=0, catalogues=self.catalogues, roles=self.sizes.w2_roles)

    def child(self, place: str, redis: str = "", **arguments: Any) -> Child:
        """A side of ours, on the bench's database; `redis` empty: without."""
        return Child(f"benchmarks.sides.{place}", self.site.environment(self.database, redis), **arguments)

    def has(self, package: str) -> bool:
        return self.with_peers and not any(line.startswith(f"{package}==") for line in self.missing)

    def peer(self, place: str, *needs: str, **arguments: Any) -> Child | None:
        """A peer's side, built and ready; None where it, or another package that it needs, could not be installed."""
        if not all(map(self.has, needs or (PACKAGES[place],))):
            return None
        if place.startswith("django_peers"):
            arguments["database"] = self.site.database("permsite_peer_" + place.partition(":")[2].lower())
        environment = {"BENCH_PEERS": str(peers.FOLDER), "DJANGO_SETTINGS_MODULE": ""}
        sizes = {"subjects": self.sizes.subjects, "checks": self.sizes.checks}
        return Child(f"benchmarks.peers.{place}", environment, **sizes, **arguments).ready()

    def close(self) -> None:
        if self._loader is not None:
            self._loader.close()


PACKAGES = {
    "django_peers:ModelBackend": "django",
    "django_peers:Guardian": "django-guardian",
    "cedar:Cedar": "cedarpy",
    "casbin_peer:Casbin": "pycasbin",
}
