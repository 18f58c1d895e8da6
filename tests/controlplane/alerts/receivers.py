"""Real receivers on the loopback: an HTTP server that answers as it is told, and a mail server that keeps what it is sent."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WAIT_S = 20.0


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hook:
    """`answers`: statuses in turn, then 204. `hold`: while it is set, no answer is given."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    location: str = ""
    hold: threading.Event | None = None
    drip: bool = False
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, number: int, timeout_s: float = WAIT_S) -> bool:
        with self.came:
            return self.came.wait_for(lambda: len(self.got) >= number, timeout_s)


@contextmanager
def hook_server() -> Iterator[Hook]:
    hook = Hook()
    ended = threading.Event()

    class Answerer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with hook.came:
                hook.got.append(Received(self.path, dict(self.headers), body))
                hook.came.notify_all()
            if hook.hold is not None:
                hook.hold.wait(WAIT_S)
            if hook.drip:
                try:
                    while not ended.wait(0.05):
                        self.wfile.write(b"H")
                        self.wfile.flush()
                except OSError:
                    return
            self.send_response(hook.answers.pop(0) if hook.answers else 204)
            if hook.location:
                self.send_header("Location", hook.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            return  # a caller that hung up

    server = Server(("127.0.0.1", 0), Answerer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hook
    finally:
        ended.set()
        if hook.hold is not None:
            hook.hold.set()
        server.shutdown()
        server.server_close()
        thread.join(WAIT_S)


@dataclass
class Sink:
    """`refuse`: the answer to RCPT, if another than 250."""

    port: int = 0
    mails: list[tuple[str, list[str], str]] = field(default_factory=list)
    refuse: str = ""


@contextmanager
def mail_server() -> Iterator[Sink]:
    """As much of SMTP as smtplib speaks."""
    sink = Sink()

    class Session(socketserver.StreamRequestHandler):
        def say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

        def handle(self) -> None:
            self.say("220 sink")
            sender = ""
            to: list[str] = []
            while line := self.rfile.readline():
                word, _, rest = line.decode().strip().partition(" ")
                word = word.upper()
                if word == "MAIL":
                    sender, to = rest, []
                    self.say("250 ok")
                elif word == "RCPT" and sink.refuse:
                    self.say(sink.refuse)
                elif word == "RCPT":
                    to.append(rest)
                    self.say("250 ok")
                elif word == "DATA":
                    self.say("354 go on")
                    text = b""
                    while (part := self.rfile.readline()) != b".\r\n":
                        text += part
                    sink.mails.append((sender, to, text.decode()))
                    self.say("250 kept")
                elif word == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Session)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    sink.port = server.server_address[1]
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join(WAIT_S)
