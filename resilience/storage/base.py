"""The port to a store: run one operation, atomically; and its async twin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from resilience.errors import StorageError
from resilience.laws.keyspace import Reply

if TYPE_CHECKING:
    from resilience.bus import Bus

Args = Sequence[int | str]
Call = tuple[str, str, Args]  # operation, tag, arguments


@dataclass(frozen=True, slots=True)
class StorageHealth:
    """`mode`: memory, standalone, cluster, sentinel; `latency_ms`: of the last ping; `since`: seconds since 1970."""

    ok: bool
    mode: str
    latency_ms: float | None = None
    error: str = ""
    since: float | None = None
    fallback_active: bool = False


class Storage(Protocol):
    """Strategies call `attempt` and decide themselves what a lost store means; everyone else calls `run`."""

    @property
    def name(self) -> Literal["redis", "memory", "failover"]: ...
    @property
    def prefix(self) -> str: ...
    @property
    def local(self) -> Storage:
        """Where a strategy goes on while this store is down."""
        ...

    @property
    def bus(self) -> Bus:
        """Messages between the processes that share this store."""
        ...

    def run(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        """The reply of one operation. `now`: microseconds, 0 for the store's own clock. Raises StorageError."""
        ...

    async def arun(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply: ...

    def run_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]:
        """Several operations, one pipeline a node, not atomic together; each has its own reply or its own error."""
        ...

    async def arun_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]: ...

    def attempt(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply:
        """As run(), but by the primary alone: raises StorageError at once while that is down."""
        ...

    async def aattempt(self, op: str, tag: str, args: Args = (), now: int = 0) -> Reply: ...
    def attempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]: ...
    async def aattempt_many(self, calls: Sequence[Call], now: int = 0) -> list[Reply | StorageError]: ...

    def channel(self, name: str) -> str:
        """The channel as scripts and the bus name it."""
        ...

    def health(self) -> StorageHealth:
        """Asks the store. Never raises."""
        ...

    async def ahealth(self) -> StorageHealth: ...
    def close(self) -> None: ...
    async def aclose(self) -> None: ...


def _nobody() -> Storage:
    raise RuntimeError("resilience.storage has not been imported whole")


# The adapters live above this module, so the package fills these in.
_default: Callable[[], Storage] = _nobody
_local: Callable[[], Storage] = _nobody
_live_processes = 1


def provide(default: Callable[[], Storage], local: Callable[[], Storage]) -> None:
    """Names the makers of the default store and of the process's own."""
    global _default, _local
    _default, _local = default, local


def default_store() -> Storage:
    """The store of strategies that were given none: Redis with memory behind it where REDIS_URL names one, else memory."""
    return _default()


def local_store() -> Storage:
    """The memory that this process shares with nobody."""
    return _local()


def live_processes() -> int:
    """How many processes share the work, as last heard; at least 1."""
    return _live_processes


def set_live_processes(number: int) -> None:
    """Told by whoever counts them."""
    global _live_processes  # noqa: PLW0603 - one integer, read without a lock
    _live_processes = max(1, number)


def local_share(limit: int) -> int:
    """What of a shared limit this process may give while it cannot ask: at least 1, all together about the limit."""
    return max(1, limit // _live_processes)
