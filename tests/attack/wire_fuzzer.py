"""Malformed requests by raw sockets: looks for faults, hangs, refusals without a reason, and memory that grows.

python -m tests.attack.wire_fuzzer --requests 200000            starts `serve --workers 2` on PostgreSQL and Valkey
python -m tests.attack.wire_fuzzer --address URL --key KEY      against a running server, by a key of the certification's world
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.attack.wire_cases import Cases, Probe
from tests.conformance import authzen_servers as servers

PAGE: Final = resource.getpagesize()
HANG_S: Final = 30.0  # far above what any answer takes on a loaded machine, and what tells a hang from it
MAX_SHOWN: Final = 20
# Bytes a process, however many requests: what an allocator keeps of its pages is below it, a leak of 200 bytes a request is not.
MAX_GROWTH: Final = 16 * 2**20
# Now and then a request comes in pieces of a few bytes.
DRIBBLE_EVERY: Final = 211


@dataclass
class Report:
    """`faults`: what must not be, in words."""

    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    hung_up: int = 0

    def fault(self, probe: Probe, what: str) -> None:
        self.faults.append(f"{probe.kind}: {what}; sent {probe.data[:300]!r}")


class BadAnswerError(Exception):
    """What came is no HTTP response."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection after another; a new one where the server closed the last, as it may after a malformed request."""

    def __init__(self, host: str, port: int, report: Report) -> None:
        self._host, self._port = host, port
        self._report = report
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._n = 0

    async def play(self, probe: Probe) -> None:
        self._report.sent[probe.kind] += 1
        self._n += 1
        try:
            async with asyncio.timeout(HANG_S):
                await (self._answered(probe) if probe.ids is not None else self._survived(probe))
        except TimeoutError:
            self._report.fault(probe, f"no answer within {HANG_S:.0f} s")
            await self.close()
        except (BadAnswerError, OSError, asyncio.IncompleteReadError) as error:
            self._report.fault(probe, f"{type(error).__name__}: {error}")
            await self.close()

    async def _answered(self, probe: Probe) -> None:
        reader, writer = await self._connected()
        await self._send(writer, probe.data)
        method = probe.data.split(b" ", 1)[0]
        for ident in probe.ids or ():
            answer = await _read(reader, with_body=method != b"HEAD")
            self._judge(probe, answer, ident)
            if answer.headers.get("connection", "").lower() == "close":
                await self.close()
                return

    async def _survived(self, probe: Probe) -> None:
        """On a connection of its own: what was broken leaves both sides in doubt about where the next request would begin."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            # The server may have hung up already, which it then tells by any of several errors.
            with contextlib.suppress(OSError):
                await self._send(writer, probe.data)
                if writer.can_write_eof():
                    writer.write_eof()
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while not reader.at_eof():
                    answer = await _read(reader, with_body=True)
                    self._judge(probe, answer, None)
            self._report.hung_up += 1
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self._n % DRIBBLE_EVERY == 0 and len(data) < 2000:
            for at in range(0, len(data), 9):
                writer.write(data[at : at + 9])
                await writer.drain()
                await asyncio.sleep(0.001)
        else:
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                # Refused unread, a large body is cut off by a reset, behind which the answer waits to be read.
                await writer.drain()

    def _judge(self, probe: Probe, answer: Answer, ident: str | None) -> None:
        self._report.statuses[answer.status] += 1
        if answer.status not in probe.statuses:
            self._report.fault(probe, f"status {answer.status}, not {sorted(probe.statuses)}: {answer.body[:200]!r}")
            return
        if ident is None:
            if answer.status != 200 and not answer.body.strip():
                self._report.fault(probe, f"status {answer.status} without a reason")
            return
        if answer.headers.get("x-request-id") != ident:
            self._report.fault(probe, f"X-Request-ID {answer.headers.get('x-request-id')!r} came back for {ident!r}")
        try:
            said = json.loads(answer.body)
        except ValueError:
            self._report.fault(probe, f"the body is no JSON: {answer.body[:200]!r}")
            return
        if answer.status != 200:
            if type(said) is not str or len(said) < 8:
                self._report.fault(probe, f"status {answer.status} without a reason: {answer.body[:200]!r}")
        elif type(said) is not dict or not {"decision", "evaluations", "results"} & said.keys():
            self._report.fault(probe, f"200 without an answer: {answer.body[:200]!r}")
        elif probe.is_decision and said != {"decision": True}:
            self._report.fault(probe, f"a plain question was answered {said}")

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof() or self._writer.is_closing():
            await self.close()
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self._reader, self._writer

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None


async def _read(reader: asyncio.StreamReader, *, with_body: bool) -> Answer:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        parts = first.split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
            raise BadAnswerError(first[:100])
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        if int(parts[1]) >= 200:
            break
    if not with_body:
        return Answer(int(parts[1]), headers, b"")
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).strip() or b"0", 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return Answer(int(parts[1]), headers, body)
    if "content-length" not in headers:
        return Answer(int(parts[1]), headers, await reader.read())
    return Answer(int(parts[1]), headers, await reader.readexactly(int(headers["content-length"])))


async def fuzz(address: str, cases: Cases, number: int, *, report: Report, clients: int = 16) -> None:
    """Draws in one order whatever the clients' pace, so that a seed names the same requests again."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    drawn = iter(cases.draw() for _ in range(number))

    async def one(client: Client) -> None:
        for probe in drawn:
            await client.play(probe)
        await client.close()

    await asyncio.gather(*(one(Client(parts.hostname, parts.port, report)) for _ in range(clients)))


def resident(pid: int) -> dict[int, int]:
    """Resident bytes of the server's process and all below it, as Linux tells them."""
    found = {pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= resident(int(child))
    return found


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complaints_of(log: Path | None) -> list[str]:
    """What the server wrote of faults of its own: its answers to those are seen already, and here is why. What Django writes of
    security is a refusal: a host that is not ours."""
    lines = log.read_text(errors="replace").splitlines() if log is not None else []
    own = [line for line in lines if '"level": "error"' in line and '"logger": "django.security.' not in line]
    return [f"the server: {line[:200]} … {line[-300:]}" for line in own]


@contextlib.contextmanager
def target(address: str | None, key: str | None) -> Iterator[servers.Target]:
    if address and key:
        yield servers.Target("a running server", address, {"authzen_certification": key})
        return
    with servers.production() as started:
        yield started


def play(server: servers.Target, *, seed: int, number: int) -> list[str]:
    """Every fault, after saying what was sent and answered."""
    say(f"{number} requests, seed {seed}, against {server.title}, {server.address}")
    report, cases = Report(), Cases(seed, server.keys["authzen_certification"])
    began = time.monotonic()
    # The first tenth fills every buffer and memory that has a bound; growth is what comes after it.
    asyncio.run(fuzz(server.address, cases, number // 10, report=report))
    before = resident(server.pid) if server.pid is not None else {}
    asyncio.run(fuzz(server.address, cases, number - number // 10, report=report))
    after = resident(server.pid) if server.pid is not None else {}
    say(f"{sum(report.sent.values())} requests in {time.monotonic() - began:.0f} s; {report.hung_up} broken connections ended")
    say("sent: " + ", ".join(f"{kind} {count}" for kind, count in report.sent.most_common()))
    say("answers: " + ", ".join(f"{status} {count}" for status, count in sorted(report.statuses.items())))
    faults = list(report.faults)
    if before.keys() != after.keys():
        faults.append(f"the server's processes changed from {sorted(before)} to {sorted(after)}")
    for pid in before.keys() & after.keys():
        say(f"memory of process {pid}: {after[pid]:,} bytes, {after[pid] - before[pid]:+,}")
        if after[pid] - before[pid] > MAX_GROWTH:
            faults.append(f"the memory of process {pid} grew from {before[pid]:,} to {after[pid]:,} bytes")
    return faults + complaints_of(server.log)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--address")
    parser.add_argument("--key")
    given = parser.parse_args()
    with target(given.address, given.key) as server:
        faults = play(server, seed=given.seed, number=given.requests)
    say(f"faults: {len(faults)}")
    for fault in faults[:MAX_SHOWN]:
        say(f"  {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
