"""One connection of one thread to one server: bytes out, replies in, and a clear word about what may have run."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from redis.exceptions import RedisError

from resilience.storage.wire import MISSING, Stale, Unseen, Unsent, reader, unsent

_CHUNK: Final = 65_536  # bytes a read


def opened(connection: Any) -> Any:
    """The connection, connected and logged in. Raises Unsent."""
    try:
        connection.connect()
    except (RedisError, OSError) as error:
        connection.disconnect()
        raise unsent(error) from error
    return connection


class Link:
    """Takes over the socket of a connection of redis-py, which did the login and TLS: its pool and its per-call checks cost more
    than the call itself. Not for two threads at once."""

    __slots__ = ("__weakref__", "_connection", "_feed", "_gets", "_has_news", "_recv", "_send", "_timeout_s")

    def __init__(self, connection: Any, timeout_s: float) -> None:
        self._connection = opened(connection)
        sock = connection._sock
        self._timeout_s = timeout_s
        if type(sock) is socket.socket:
            # With settimeout() Python polls before each send and each recv: two system calls more a round trip, about a sixth of
            # it. The kernel's own time-outs cost nothing.
            sock.settimeout(None)
            bound = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
        else:
            sock.settimeout(timeout_s)
        self._has_news = news_of(sock)
        self._send = sock.sendall
        self._recv = sock.recv
        parser = reader()
        self._feed = parser.feed
        self._gets = parser.gets

    def ask(self, packed: bytes) -> object:
        """The reply. Raises Unsent or Unseen, and is closed then."""
        self.send(packed)
        try:
            self._feed(self._recv(_CHUNK))
            reply = self._gets()
            return self._rest(1)[0] if reply is MISSING else reply
        except (OSError, hiredis.HiredisError) as error:
            raise self._unseen(error, ()) from error
        except BaseException:
            # An interrupt between question and answer: the next call would read this one's reply.
            self.close()
            raise

    def send(self, packed: bytes, *, is_single: bool = True) -> None:
        """A connection with something to read before anything was asked was closed by the server while idle: found out here,
        where nothing has run yet, since after sending nobody could tell."""
        if self._has_news(0):
            self.close()
            raise Stale("the server closed the idle connection")
        try:
            self._send(packed)
        except OSError as error:
            if not is_single:
                raise self._unseen(error, ()) from error  # the first calls of a pipeline may have run
            self.close()
            # The kernel did not take the whole call, so the server never gets its end.
            kind = Unsent if is_timeout(error) else Stale
            raise kind(f"the call could not be sent: {why(error, self._timeout_s)}") from error
        except BaseException:
            self.close()
            raise

    def receive(self, number: int) -> list[object]:
        """The replies to what was sent. Raises Unseen with those that came, and is closed then."""
        try:
            return self._rest(number)
        except BaseException:
            self.close()
            raise

    def _rest(self, number: int) -> list[object]:
        replies: list[object] = []
        deadline = time.monotonic() + self._timeout_s
        try:
            while True:
                while (reply := self._gets()) is not MISSING:
                    replies.append(reply)
                    if len(replies) == number:
                        return replies
                # The time-out holds for a read; a server that sends a byte at a time must not stretch it.
                if time.monotonic() > deadline:
                    raise TimeoutError
                data = self._recv(_CHUNK)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                self._feed(data)
        except (OSError, hiredis.HiredisError) as error:
            raise self._unseen(error, replies) from error

    def _unseen(self, error: Exception, replies: Sequence[object]) -> Unseen:
        self.close()
        return Unseen(f"sent, no reply: {why(error, self._timeout_s)}", replies)

    def close(self) -> None:
        # The number of its descriptor may soon be another socket's: polling that one, a closed link would look alive for ever,
        # and a pipeline sent on it would count as unseen each time.
        self._has_news = _has_ended
        self._connection.disconnect()


def _has_ended(wait_ms: int) -> bool:
    return True


def news_of(sock: Any) -> Callable[[int], object]:
    """A function that tells without waiting, called with 0, whether something came unasked: the end, on a connection of ours."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not isinstance(sock, ssl.SSLSocket):
        return poll.poll

    def has_ended(wait_ms: int) -> bool:
        # TLS sends tickets of its own after the handshake: bytes to read, and yet no news.
        if not poll.poll(wait_ms):
            return False
        timeout_s = sock.gettimeout()
        sock.settimeout(0)
        try:
            sock.recv(1)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
        finally:
            sock.settimeout(timeout_s)
        return True

    return has_ended


def is_timeout(error: Exception) -> bool:
    """A time-out of the kernel reads as "would block"."""
    return isinstance(error, TimeoutError | BlockingIOError)


def why(error: Exception, timeout_s: float) -> str:
    return f"nothing within {timeout_s * 1000:.0f} ms" if is_timeout(error) else str(error) or type(error).__name__
