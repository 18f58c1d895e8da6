"""Spans and trace ids in the real server: to a collector over OTLP, in log lines, and in statements."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from permsite.demo import QUESTION
from permsite.tracing import Traced
from tests.permsite.commands import ROOT, Running, run

pytestmark = pytest.mark.timeout(180)
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
PATIENCE_S = 60.0


class Collector:
    """An OTLP receiver over HTTP: `spans` as they came."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self._news = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = ExportTraceServiceRequest()
                message.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                outer.came(message)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def came(self, message: ExportTraceServiceRequest) -> None:
        with self._news:
            for resource in message.resource_spans:
                service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
                self.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
            self._news.notify_all()

    def wait_for(self, name: str) -> list[Any]:
        def found() -> list[Any]:
            return [span for _, span in self.spans if name in span.name]

        with self._news:
            assert self._news.wait_for(found, timeout=PATIENCE_S), [span.name for _, span in self.spans]
            return found()


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.server.shutdown()
    found.server.server_close()


def ask(url: str, *, key: str = "", body: Any = None, **headers: str) -> tuple[int, Any]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key:
        sent["Authorization"] = f"Bearer {key}"
    if body is not None:
        sent["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(), headers=sent)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.read()


def evaluation() -> dict[str, Any]:
    (subject, who), action, (resource, which) = QUESTION
    return {"subject": {"type": subject, "id": who}, "action": {"name": action}, "resource": {"type": resource, "id": which}}


def demo_of(running: Running, folder: Path) -> tuple[str, str]:
    url = running.wait_for(r"site\s+(http://\S+)/admin/")[1]
    running.wait_for("Ask it")
    return url, (folder / "api_key").read_text().strip()


def test_spans_of_requests_reach_a_collector_with_the_callers_trace(collector: Collector, tmp_path: Path) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100", "SQL_COMMENTS": "sampled"}
    with run("demo", "--port", "0", folder=tmp_path, **env) as site:
        url, key = demo_of(site, tmp_path)
        for path in ("/healthz", "/readyz", "/metrics"):
            ask(url + path, traceparent=PARENT)
        status, _ = ask(f"{url}/api/v1/roles/", key=key, traceparent=PARENT, X_Request_ID="r-77")
        assert status == 200
        # A plain question is traced where its caller traces, and is answered as before where not.
        # Whole in one packet, as clients of enforcement points send it; urllib sends the body after the head.
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as kept:
            reader = kept.makefile("rb")
            body = json.dumps(evaluation())
            for more in ("", f"traceparent: {PARENT}\r\n", "", ""):
                head = f"POST /access/v1/evaluation HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
                kept.sendall((head + body).encode())
                length = 0
                while (line := reader.readline()) not in (b"\r\n", b""):
                    length = int(line.split(b":")[1]) if line.lower().startswith(b"content-length") else length
                assert json.loads(reader.read(length)) == {"decision": True}
            reader.close()
        [role] = [span for span in collector.wait_for("roles") if span.parent_span_id.hex() == SPAN]
        inner = [span for span in collector.wait_for("roles") if span.parent_span_id == role.span_id]
        assert role.trace_id.hex() == TRACE and len(inner) == 1
        [asked] = [span for span in collector.wait_for("/access/v1/evaluation") if span.parent_span_id]
        assert (asked.trace_id.hex(), asked.parent_span_id.hex()) == (TRACE, SPAN)
        assert {service for service, _ in collector.spans} == {"permsite"}
        assert not [span.name for _, span in collector.spans if any(p in span.name for p in ("health", "ready", "metrics", "ws"))]
        assert key not in str(collector.spans)
        # The last spans of a server that ends are not lost.
        ask(f"{url}/api/schema/", traceparent=PARENT)
        assert site.end(signal.SIGTERM) == 0
    assert collector.wait_for("schema")


def test_a_plain_question_is_handed_on_only_where_its_caller_traces() -> None:
    class Site:
        plain_paths = frozenset({b"/x"})

        def plainly(self, path: str, headers: Any, body: bytes) -> Any:
            return (), b"yes"

    traced = Traced(Site())  # type: ignore[arg-type]  # what quick.py reads of it
    assert traced.plain_paths == {b"/x"}
    assert traced.plainly("/x", [(b"content-type", b"x")], b"") == ((), b"yes")
    assert traced.plainly("/x", [(b"traceparent", PARENT.encode())], b"") is None


def test_a_collector_that_is_away_hinders_no_answer_and_no_end(tmp_path: Path) -> None:
    with run("demo", "--port", "0", folder=tmp_path, OTEL="1", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as site:
        url, key = demo_of(site, tmp_path)
        assert ask(f"{url}/api/v1/roles/", key=key)[0] == 200
        assert site.end(signal.SIGTERM) == 0


def test_without_the_packages_an_insisting_setting_is_refused_and_a_named_collector_is_passed_over(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['opentelemetry.instrumentation.django'] = None; import permsite.asgi; print('runs')"
    for env, told in (({"OTEL": "1"}, "group otel"), ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "runs")):
        made = subprocess.run(
            [sys.executable, "-c", hidden],
            cwd=ROOT,
            env={"PATH": "/usr/bin", "PERMSITE_VAR": str(tmp_path), **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told in made.stdout + made.stderr and "group otel" in made.stderr
        assert (made.returncode == 0) is (told == "runs")


def test_a_line_of_the_log_leads_to_the_trace_without_any_package(tmp_path: Path) -> None:
    with run("demo", "--port", "0", folder=tmp_path) as site:
        url, key = demo_of(site, tmp_path)
        with pytest.raises(urllib.error.HTTPError):
            ask(f"{url}/api/v1/roles/nothing-here/", key=key, traceparent=PARENT, X_Request_ID="r-9")
        line = json.loads(site.wait_for(r'^\{.*"request_id": "r-9".*$')[0])
        assert line["trace_id"] == TRACE and line["span_id"] != SPAN
        assert line["realm"] == "default" and line["actor"].startswith("key:") and ":" in line["instance"]
