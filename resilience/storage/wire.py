"""One call as bytes, one reply as an answer or as one of our errors; what to do next when the server did not run it.

No socket here: the same rules serve threads and event loops.
"""

from __future__ import annotations

import re
import time
from binascii import crc_hqx
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import hiredis
import redis

from resilience import telemetry
from resilience.errors import (
    StorageAuthError,
    StorageError,
    StorageFull,
    StorageProtocolError,
    StorageUnavailable,
)
from resilience.laws.keyspace import Reply
from resilience.operations import OPERATIONS
from resilience.storage.base import Args

Node = tuple[str, int]

# C does this in a microsecond; its annotation says a tuple of one.
_packed: Final[Callable[[tuple[str | int, ...]], bytes]] = cast(Any, hiredis.pack_command)

MISSING: Final = object()  # the reader has no whole reply yet

# A redirection means that nothing has run, so following it is safe; the bound ends a circle of nodes that disagree. A slot on its
# way needs two (MOVED to its owner, ASK to the next), a fail-over during that one more.
MAX_REDIRECTIONS: Final = 4
# TRYAGAIN: some keys of the slot have moved, some not, which lasts for one MIGRATE. 1 + 2 + 4 + ... = 63 ms in all, below the
# time-out of a decision.
TRYAGAIN_PAUSES_S: Final = tuple(0.001 * 2**n for n in range(6))

# First word of an error reply. Everything that is not here is our bug.
_CLASSES: Final[dict[str, type[StorageError]]] = {
    "LOADING": StorageUnavailable,
    "MASTERDOWN": StorageUnavailable,
    "CLUSTERDOWN": StorageUnavailable,
    "READONLY": StorageUnavailable,
    "TRYAGAIN": StorageUnavailable,
    "MOVED": StorageUnavailable,
    "ASK": StorageUnavailable,
    "BUSY": StorageUnavailable,  # another script has been running for seconds
    "MISCONF": StorageUnavailable,  # it cannot write its snapshots and refuses all writes
    "NOREPLICAS": StorageUnavailable,
    "OOM": StorageFull,
    "NOAUTH": StorageAuthError,
    "WRONGPASS": StorageAuthError,
    "NOPERM": StorageAuthError,
}
# Before version 7 an error inside a script came wrapped: "ERR Error running script (call to f_...): @user_script:5: -OOM ...".
_WRAPPED: Final = re.compile(r"^ERR Error (?:running|compiling) script.*?[ :]-?([A-Z]{3,})\b")


class ErrorReply(Exception):
    """What the server answered instead of a reply."""

    @property
    def text(self) -> str:
        return str(self.args[0]) if self.args else ""

    @property
    def code(self) -> str:
        wrapped = _WRAPPED.match(self.text)
        if wrapped is not None:
            return wrapped[1]
        code = self.text.partition(" ")[0]
        if code == "ERR":
            return _code_of_plain(self.text)
        return code


class Unsent(Exception):
    """The server never had the whole call, so nothing has run. `kind`: what it means where no other node can help."""

    def __init__(self, why: str, kind: type[StorageError] = StorageUnavailable) -> None:
        super().__init__(why)
        self.kind = kind


class Stale(Unsent):
    """Unsent because the server had closed the connection while it was idle: a new one may do."""


class Unseen(Exception):
    """The call was sent and its reply was not seen: it may have run. `seen`: the replies of a pipeline that came before."""

    def __init__(self, why: str, seen: Sequence[object] = ()) -> None:
        super().__init__(why)
        self.seen = list(seen)


def _code_of_plain(text: str) -> str:
    """Errors that have no word of their own."""
    lowered = text.lower()
    if "max number of clients" in lowered:
        return "BUSY"
    if any(words in lowered for words in ("invalid password", "'auth' command", "no password is set", "unauthenticated")):
        return "WRONGPASS"  # the last is said, before NOAUTH could be, to a stranger's command of more than ten words
    # A user who may run scripts but not a command in them; the words changed between versions.
    if "acl failure in script" in lowered or "the user executing the script can't" in lowered:
        return "NOPERM"
    return "ERR"


def reader() -> Any:
    """Parses replies; texts come as str. What is no UTF-8 was not written by us: it must not fail here but where it is read."""
    return hiredis.Reader(encoding="utf-8", errors="replace", replyError=ErrorReply, notEnoughData=MISSING)


def pack(*words: str | int) -> bytes:
    """A command as bytes."""
    return _packed(words)


def evalsha(op: str, prefix: str, tag: str, args: Args, now: int) -> bytes:
    """The call as the server wants it, its script by digest. Raises ValueError for what is neither integer nor text."""
    operation = OPERATIONS[op]
    keys = operation.keys(prefix, tag, args)
    try:
        return _packed(("EVALSHA", operation.script.sha, len(keys), *keys, now, *args))
    except (TypeError, UnicodeError) as error:
        raise ValueError(f"{op}: arguments are integers and texts of Unicode, not {_wrong(tag, args)}") from error


def eval_whole(op: str, prefix: str, tag: str, args: Args, now: int) -> bytes:
    """The same call with the script's text, which the server then remembers."""
    operation = OPERATIONS[op]
    keys = operation.keys(prefix, tag, args)
    return _packed(("EVAL", operation.script.text, len(keys), *keys, now, *args))


def _wrong(tag: str, args: Args) -> str:
    for value in (tag, *args):
        try:
            _packed((value,))
        except (TypeError, UnicodeError):
            return f"{value!r:.100}"
    return "these"


def slot_of(tag: str) -> int:
    """Cluster specification, "key distribution model": CRC16 (XMODEM) of the hash tag, modulo 16384."""
    return crc_hqx(tag.encode("utf-8", "surrogatepass"), 0) & 16383


def redirection(reply: ErrorReply, asked: Node | None) -> tuple[int, Node] | None:
    """Slot and node of a MOVED or ASK. An empty host means the one that answered."""
    try:
        _, slot, place = reply.text.split(" ")[:3]
        host, _, port = place.rpartition(":")
        return int(slot), (host or (asked[0] if asked else ""), int(port))
    except ValueError:
        return None


def error_of(op: str, reply: object) -> StorageError:
    """Our error for a reply that is none."""
    if not isinstance(reply, ErrorReply):
        return StorageProtocolError(op, f"the script replied {type(reply).__name__}, not a list")
    error = _CLASSES.get(reply.code, StorageProtocolError)(op, reply.text[:200])
    if isinstance(error, StorageUnavailable) and reply.code in {"TRYAGAIN", "MOVED", "ASK"}:
        error.is_whole_store = False  # one slot is on its way
    return error


def unsent(error: Exception) -> Unsent:
    """Why a connection did not come about; redis-py's messages name the host, never the password."""
    if isinstance(error, redis.exceptions.AuthenticationError | redis.exceptions.NoPermissionError):
        return Unsent(f"the server refused the login: {error}"[:200], StorageAuthError)
    return Unsent(f"no connection: {error}"[:200])


def noted(error: StorageError) -> StorageError:
    """Counts an error on its way to the caller; our own bugs are logged too."""
    telemetry.count("resilience_storage_errors_total", type(error).__name__)
    if isinstance(error, StorageProtocolError) and time.monotonic() - _logged_at[0] >= LOG_EVERY_S:
        _logged_at[0] = time.monotonic()
        telemetry.log.error("a store and its script disagree: %s", error)
    return error


# One wrong script fails at every call: all are counted, a line a second is enough to find it.
LOG_EVERY_S: Final = 1.0
_logged_at = [-LOG_EVERY_S]


def gathered(met: list[object], places: Sequence[int], replies: Sequence[object], error: Exception | None = None) -> None:
    """Writes down what a pipeline's calls met: the replies that came, then the error."""
    for number, place in enumerate(places):
        met[place] = replies[number] if number < len(replies) else error


# What a recovery asks of its driver, which knows sockets.
@dataclass(frozen=True, slots=True)
class Ask:
    """Send `packed` to `node` (after ASKING, if `asking`) and give the reply back, or an Unsent; an Unseen ends it all."""

    node: Node | None
    packed: bytes
    asking: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reload:
    """Ask any live node who owns the slot; the driver answers with the owner, None where nobody says."""

    slot: int


@dataclass(frozen=True, slots=True)
class Moved:
    """Write down the new owner of a slot."""

    slot: int
    node: Node


Step = Ask | Pause | Reload | Moved


def recovery(  # noqa: PLR0912 - one case for each thing a server says instead of an answer
    op: str, prefix: str, tag: str, args: Args, now: int, *, node: Node | None, met: object
) -> Generator[Step, Any, Reply]:
    """What to do after `node` met a call with something else than an answer. Repeats only what has not run; raises StorageError,
    and an Unseen as it is."""
    packed = evalsha(op, prefix, tag, args, now)
    asking = is_whole = False
    redirections = 0
    pauses = iter(TRYAGAIN_PAUSES_S)
    is_cluster = node is not None
    while True:
        if isinstance(met, list):
            return met
        if isinstance(met, Unseen):
            raise met
        if isinstance(met, Unsent):
            redirections += 1
            owner = None
            if is_cluster and redirections <= MAX_REDIRECTIONS:
                owner = yield Reload(slot_of(tag))
            if owner is None or owner == node:
                raise met.kind(op, str(met)) from met
            node, asking = owner, False
        elif not isinstance(met, ErrorReply):
            raise error_of(op, met)
        elif met.code == "NOSCRIPT" and not is_whole:
            packed, is_whole = eval_whole(op, prefix, tag, args, now), True
        elif met.code in {"MOVED", "ASK"} and is_cluster:
            told = redirection(met, node)
            redirections += 1
            if told is None or redirections > MAX_REDIRECTIONS:
                raise error_of(op, met)
            asking = met.code == "ASK"
            node = told[1]
            if not asking:
                yield Moved(*told)
        elif met.code == "TRYAGAIN":
            pause = next(pauses, None)
            if pause is None:
                raise error_of(op, met)
            yield Pause(pause)
        else:
            raise error_of(op, met)
        met = yield Ask(node, packed, asking)


ASKING: Final = pack("ASKING")
PING: Final = pack("PING")


def complaint(met: object, *, allowed: Sequence[str] = ()) -> str:
    """What a health check says about a reply, empty if it is a good one; error codes in `allowed` are."""
    if isinstance(met, ErrorReply):
        error = error_of("health", met)
        if met.code in allowed:
            return ""
        return f"misconfigured: {met.text}"[:200] if isinstance(error, StorageAuthError) else met.text[:200]
    if isinstance(met, Unsent) and met.kind is StorageAuthError:
        return f"misconfigured: {met}"
    return str(met) if isinstance(met, Exception) else ""
