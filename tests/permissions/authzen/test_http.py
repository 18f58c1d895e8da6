"""The HTTP around a decision: paths, methods, callers, sizes, request ids, tokens, faults."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from permissions.engine.reasons import Unavailable
from tests.permissions.authzen.wire import (
    EVALUATION,
    EVALUATIONS,
    METADATA,
    QUESTION,
    Table,
    application,
    ask,
    call,
)

BODY = json.dumps(QUESTION).encode()
ERRORS = [
    {"path": "/access/v1/nothing"},
    {"method": "GET"},
    {"authorization": None},
    {"content_type": "text/plain"},
    {"body": b""},
    {"body": b"x" * 1_048_577},
    {"headers": [("X-Permission-Token", "garbage")]},
    {"headers": [("X-Permission-Token", "future")]},
    {"authorization": "Bearer unavailable"},
]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/access/v1/evaluation/",
        "/access/v1/evaluations/",
        "/access/v1",
        "/access/v1/Evaluation",
        "//access/v1/evaluation",
        "/access/v1/search",
        "/.well-known/authzen-configuration/",
        "/.well-known",
    ],
)
def test_paths_are_exact(path):
    answer = ask(application(), path=path)
    assert answer.status == 404
    assert isinstance(answer.json, str)


def test_it_names_the_paths_that_are_its_own():
    searches = {"/access/v1/search/subject", "/access/v1/search/resource", "/access/v1/search/action"}
    assert application().paths == {EVALUATION, EVALUATIONS, METADATA} | searches


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post"])
@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
def test_an_evaluation_is_asked_for_with_post(method, path):
    answer = ask(application(), path=path, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_head_request_is_answered_without_a_body():
    answer = ask(application(), method="HEAD")
    assert (answer.status, answer.body) == (405, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("header", [None, "", "good", "Basic Z29vZA==", "Bearer", "Bearer bad", "Bearer good good"])
def test_who_is_not_known_is_asked_for_a_key(header):
    answer = ask(application(), authorization=header)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="permsite"')
    assert ("invalid_token" in answer.headers["www-authenticate"]) == bool(header)
    assert isinstance(answer.json, str)


def test_the_caller_comes_before_the_body():
    assert ask(application(), b"not json", authorization=None).status == 401
    assert ask(application(), b"x" * 2_000_000, authorization=None).status == 401


def test_a_key_that_is_not_in_memory_is_looked_up():
    assert ask(application(), authorization="Bearer cold").status == 200


@pytest.mark.parametrize("name", ["Authorization", "Content-Type", "X-Request-ID", "X-Permission-Token"])
def test_a_header_that_two_readers_could_read_differently_is_refused(name):
    answer = ask(application(), headers=[(name, "a"), (name, "b")])
    assert answer.status == 400
    assert name.lower() in answer.json


def test_other_headers_may_be_repeated():
    assert ask(application(), headers=[("Cookie", "a=1"), ("Cookie", "b=2")]).status == 200


def padded(size: int) -> bytes:
    return BODY[:-1] + b" " * (size - len(BODY)) + b"}"


def test_a_body_of_a_mebibyte_passes_and_one_byte_more_does_not():
    assert ask(application(), padded(1_048_576)).status == 200
    assert ask(application(), padded(1_048_577)).status == 413


def test_a_body_that_comes_in_pieces_is_put_together():
    assert ask(application(), chunks=[BODY[n : n + 1] for n in range(len(BODY))]).status == 200
    assert ask(application(), chunks=[b"", BODY[:9], b"", BODY[9:], b""]).status == 200


def test_what_the_client_declares_is_believed_when_it_is_too_much():
    answer = ask(application(), BODY, headers=[("Content-Length", "1048577")])
    assert answer.status == 413
    assert ask(application(), BODY, headers=[("Content-Length", "9" * 400)]).status == 413


def test_what_the_client_declares_is_not_believed_when_it_is_too_little():
    big = padded(1_048_577)
    for declared in ([], [("Content-Length", "5")]):
        assert (
            ask(application(), headers=declared, chunks=[big[n : n + 65_536] for n in range(0, len(big), 65_536)]).status == 413
        )


def test_an_endless_body_is_not_read_to_its_end():
    read = 0

    async def receive():
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

    sent = []

    async def send(event):
        sent.append(event)

    headers = [(b"authorization", b"Bearer good"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": EVALUATION, "headers": headers}
    asyncio.run(application()(scope, receive, send))
    assert sent[0]["status"] == 413
    assert read == 17


@pytest.mark.parametrize("chunks", [[b""], [BODY[:10]], [BODY]], ids=["nothing", "half", "all but the end"])
def test_a_client_that_leaves_is_not_answered_and_nothing_is_asked(chunks):
    pdp = Table()
    answer = ask(application(pdp), chunks=chunks, leaves=True)
    assert answer.status == 0
    assert not pdp.asked


def test_a_smaller_limit_can_be_given():
    assert ask(application(max_body=100), padded(101)).status == 413


def test_a_request_id_comes_back():
    answer = ask(application(), headers=[("X-Request-ID", "h8-0001")])
    assert (answer.status, answer.headers["x-request-id"]) == (200, "h8-0001")


@pytest.mark.parametrize("options", ERRORS, ids=str)
def test_a_request_id_comes_back_with_every_error(options):
    options = {**options, "headers": [*options.get("headers", []), ("X-Request-ID", "h8-0001")]}
    answer = ask(application(), options.pop("body", QUESTION), **options)
    assert answer.status >= 400
    assert answer.headers["x-request-id"] == "h8-0001"
    assert isinstance(answer.json, str)


def test_no_request_id_is_no_error():
    assert "x-request-id" not in ask(application()).headers


@pytest.mark.parametrize(
    ("sent", "returned"),
    [
        (b"a\r\nSet-Cookie: x=1", "aSet-Cookie: x=1"),
        (b"a\x00\x1b[31mb", "a[31mb"),
        (b"x" * 5_000, "x" * 200),
        (b"\xe9t\xe9", "été"),
        (b"urn:uuid:{1}; {2}", "urn:uuid:{1}; {2}"),
    ],
)
def test_a_request_id_cannot_forge_a_header_or_flood_a_log(sent, returned):
    assert ask(application(), headers=[("X-Request-ID", sent)]).headers["x-request-id"] == returned


def test_a_request_id_of_nothing_harmless_is_dropped():
    assert "x-request-id" not in ask(application(), headers=[("X-Request-ID", b"\r\n")]).headers


@pytest.mark.parametrize("token", ["v1.1.abc.7.mac", "full"])
def test_a_token_goes_to_the_decision_and_one_comes_back(token):
    pdp = Table()
    answer = ask(application(pdp), headers=[("X-Permission-Token", token)])
    assert (answer.body, pdp.tokens) == (b'{"decision":true}', [token])
    assert answer.headers["x-permission-token"] == "v1.default.7"


def test_a_token_holds_for_a_batch():
    pdp = Table()
    body = {**QUESTION, "evaluations": [{}, {"context": {"explain": True}}]}
    answer = ask(application(pdp), body, path=EVALUATIONS, headers=[("X-Permission-Token", "full")])
    assert answer.headers["x-permission-token"] == "v1.default.7"
    assert pdp.tokens == ["full", "full"]


@pytest.mark.parametrize("headers", [[], [("X-Permission-Token", "")], [("X-Permission-Token", " ")]], ids=str)
def test_without_a_token_none_is_given(headers):
    pdp = Table()
    answer = ask(application(pdp), headers=headers)
    assert "x-permission-token" not in answer.headers
    assert pdp.tokens == []


@pytest.mark.parametrize(("token", "status"), [("garbage", 400), ("future", 409), ("foreign", 400)])
@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
def test_a_token_that_cannot_be_kept_is_refused_and_never_ignored(token, status, path):
    answer = ask(application(), path=path, headers=[("X-Permission-Token", token)])
    assert answer.status == status
    assert "x-permission-token" not in answer.headers
    assert isinstance(answer.json, str)


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
def test_no_decision_now_says_when_to_ask_again(path):
    pdp = Table(is_warm=False)
    pdp.fault = Unavailable("the database does not answer", retry_after_s=0.2)
    answer = ask(application(pdp), {**QUESTION, "evaluations": [{}]}, path=path)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json == "the database does not answer"


def test_a_key_that_cannot_be_looked_up_is_no_401():
    answer = ask(application(), authorization="Bearer unavailable")
    assert (answer.status, answer.headers["retry-after"]) == (503, "3")


def test_a_fault_is_logged_and_tells_the_client_nothing(caplog):
    pdp = Table()
    pdp.fault = RuntimeError("secret detail")
    with caplog.at_level(logging.ERROR, logger="permissions.authzen"):
        answer = ask(application(pdp))
    assert (answer.status, answer.json) == (500, "internal error")
    assert "secret detail" in caplog.text


def test_being_cancelled_is_no_fault():
    pdp = Table()
    pdp.fault = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        ask(application(pdp))


def test_it_speaks_nothing_but_http():
    with pytest.raises(ValueError, match="websocket"):
        asyncio.run(application()({"type": "websocket", "path": EVALUATION}, None, None))  # type: ignore[arg-type]


def test_many_at_once_get_each_their_own_answer():
    app = application(Table(is_warm=False))
    pairs = [("Authorization", "Bearer cold"), ("Content-Type", "application/json")]

    async def one(number: int):
        subject = {"type": "user", "id": "charlie" if number % 3 == 0 else f"u{number}"}
        body = json.dumps({**QUESTION, "subject": subject}).encode()
        half = number % len(body)
        return await call(app, "POST", EVALUATION, [*pairs, ("X-Request-ID", str(number))], [body[:half], body[half:]])

    async def all_of_them():
        return await asyncio.gather(*(one(number) for number in range(300)))

    for number, answer in enumerate(asyncio.run(all_of_them())):
        assert answer.json == {"decision": number % 3 != 0}
        assert answer.headers["x-request-id"] == str(number)
