"""Log lines: one JSON object each, with the request's id, and without secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import sys

import pytest

from permsite import logging as ours
from resilience import trace


@pytest.fixture
def logged():
    """A logger of ours and a function that gives its last line as an object."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ours.JSONFormatter())
    handler.addFilter(ours.SecretsFilter())
    logger = logging.getLogger("tests.logged")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    # A request of an earlier test may have left its id in this thread.
    trace.clear()
    yield logger, lambda: json.loads(stream.getvalue().splitlines()[-1])
    trace.clear()
    logger.removeHandler(handler)


def test_a_line_says_when_how_bad_who_and_what(logged):
    logger, last = logged
    logger.warning("loaded %s roles", 67, extra={"realm": "default"})
    line = last()
    assert line["event"] == "loaded 67 roles" and line["level"] == "warning" and line["realm"] == "default"
    assert line["time"].endswith("+00:00") and line["logger"] == "tests.logged" and "request_id" not in line


def test_a_line_carries_the_id_of_the_request_it_was_written_for(logged):
    logger, last = logged
    trace.begin("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "r-1")
    trace.note(realm="default", actor="user:alice")
    logger.info("asked")
    line = last()
    assert line["request_id"] == "r-1" and line["trace_id"] == "a" * 32 and line["span_id"] != "b" * 16
    assert line["realm"] == "default" and line["actor"] == "user:alice"
    assert line["instance"].endswith(f":{os.getpid()}")


def test_what_the_call_itself_names_goes_before_what_the_request_knew(logged):
    logger, last = logged
    trace.begin()
    trace.note(realm="default", actor="user:alice")
    logger.info("has ended", extra={"realm": "other"})
    assert last()["realm"] == "other" and last()["actor"] == "user:alice"


def test_a_secret_sent_as_a_request_id_is_hidden(logged):
    logger, last = logged
    trace.begin("", "ps_abcd1234_" + "S3cret-key_part" * 3)
    logger.info("asked")
    assert "S3cret" not in json.dumps(last())


def test_an_exception_is_part_of_its_line(logged):
    logger, last = logged
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        logger.exception("failed")
    line = last()
    assert "ValueError" in line["exception"] and "hunter2" not in line["exception"]


@pytest.mark.parametrize(
    "text",
    [
        "ps_abcd1234_" + "S3cret-key_part" * 3,
        "Authorization: Bearer S3cretS3cret",
        "connecting to redis://default:S3cret@cache:6379/0",
        "postgresql://permsite:S3cret@db/permsite failed",
        '{"password": "S3cret"}',
        "secret_key='S3cret'",
        "Cookie: sessionid=S3cret",
    ],
)
def test_a_secret_never_leaves(logged, text):
    logger, last = logged
    logger.info("got %s", text, extra={"detail": text})
    assert "S3cret" not in json.dumps(last())


def test_what_is_no_secret_stays(logged):
    logger, last = logged
    logger.info("user:alice may post:edit on channel:9 at https://permsite.example.org/x")
    assert last()["event"] == "user:alice may post:edit on channel:9 at https://permsite.example.org/x"


def test_a_terminal_gets_lines_for_people():
    record = logging.makeLogRecord({"levelname": "ERROR", "msg": "it broke", "exc_info": None, "created": 0})
    shown = ours.ConsoleFormatter().format(record)
    assert "00:00:00" in shown and "error" in shown and "it broke" in shown and "{" not in shown


def test_the_configuration_is_one_that_logging_takes():
    from logging import config

    for on_terminal in (True, False):
        chosen = ours.configuration(level="INFO", on_terminal=on_terminal)
        assert config.DictConfigurator(chosen).config["root"]["level"] == "INFO"
        assert chosen["handlers"]["stderr"]["filters"] == ["secrets"]
    assert sys.stderr is not None


def test_what_a_client_got_wrong_is_one_line_of_warning_without_a_trace():
    try:
        raise ValueError("Invalid HTTP_HOST header")
    except ValueError as error:
        record = logging.LogRecord("django.security.DisallowedHost", logging.ERROR, "", 0, str(error), (), sys.exc_info())
    assert ours.SecretsFilter().filter(record)
    line = json.loads(ours.JSONFormatter().format(record))
    assert line["level"] == "warning"
    assert "exception" not in line


def test_a_page_that_is_refused_is_a_line_and_a_fault_keeps_its_trace() -> None:
    try:
        raise PermissionError("no")
    except PermissionError:
        fault = sys.exc_info()
    for level, has_trace in ((logging.WARNING, False), (logging.ERROR, True)):
        record = logging.LogRecord("django.request", level, "", 0, "Forbidden: /admin/control/", (), fault)
        assert ours.SecretsFilter().filter(record)
        assert ("exception" in json.loads(ours.JSONFormatter().format(record))) is has_trace
