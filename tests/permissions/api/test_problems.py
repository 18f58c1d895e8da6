"""Whatever goes wrong below /api/ is a problem document with the right status, and changes nothing."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError
from django.db.utils import DataError

from permissions import pdp
from permissions.api.parsing import MAX_BODY_BYTES
from permissions.engine.reasons import Unavailable
from permissions.models import Role
from tests.permissions.api.world import Api, Cast, make_key, refused, with_key

pytestmark = pytest.mark.django_db

ASKED = {"subject": "user:bob", "permission": "post:read", "resource": "channel:9"}
ROLE = {"name": "any"}


def raw(api: Api, body: bytes, kind: str = "application/json", path: str = "roles/") -> Any:
    return api.send("POST", path, raw=body, kind=kind)


UNKNOWN = ["/api/", "/api/v1/", "/api/v2/roles/", "/api/v1/role/", "/api/v1/check/", "/api/v1/%00", "/api/v1/roles"]


def test_an_unknown_path_is_not_found(cast: Cast) -> None:
    for path, method in itertools.product(UNKNOWN, ["GET", "POST", "DELETE", "OPTIONS", "BREW"]):
        refused(cast.root.send(method, path), 404, "not_found")


def test_a_method_that_is_not_taken_is_told_with_those_that_are(cast: Cast) -> None:
    answer = cast.root.get("check")
    refused(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]
    refused(cast.root.send("BREW", "roles/"), 405, "method_not_allowed")
    # A parameter of the methods that there are is no fault of one that there is not.
    refused(cast.root.send("TRACE", "roles/?limit=1"), 405, "method_not_allowed")


NOT_JSON = [
    (b"", "empty"),
    (b"  \n", "empty"),
    (b"{", "not JSON"),
    (b'{"name": "a",}', "not JSON"),
    (b"{'name': 'a'}", "not JSON"),
    (b'{"name": "a", "name": "b"}', "stands twice"),
    (b'{"name": "a", "x": {"y": 1, "y": 1}}', "stands twice"),
    (b'{"name": NaN}', "NaN"),
    (b'{"name": -Infinity}', "Infinity"),
    (b'{"name": 1e999}', "too large"),
    (b'{"name": 1' + b"0" * 30 + b"}", "64 bits"),
    (b'{"name": 1' + b"0" * 5000 + b"}", "64 bits"),
    (b'{"name": "\xff"}', "UTF-8"),
    (b'\xef\xbb\xbf{"name": "a"}', "byte order mark"),
    (b'{"name": "\\ud800"}', "surrogate"),
    (b'{"\\udfff": 1}', "surrogate"),
    (b'{"x": ' * 41 + b"1" + b"}" * 41, "deeper"),
    (b"[" * 100_000 + b"]" * 100_000, "deeper"),
    (b'{"name": "a"} trailing', "not JSON"),
    ('{"name": "a"}'.encode("utf-16"), "UTF-8"),
]


def test_a_body_that_is_not_strict_json_is_refused(cast: Cast) -> None:
    for body, words in NOT_JSON:
        answer = raw(cast.root, body)
        refused(answer, 400, "bad_request")
        assert words in answer.problem["detail"]
    assert Role.objects.filter(name__in=["a", "b"]).count() == 0


def test_a_body_over_the_limit_is_too_large(cast: Cast) -> None:
    fits = json.dumps({"name": "any", "description": "x" * 9_000}).encode()
    assert raw(cast.root, fits + b" " * (MAX_BODY_BYTES - len(fits))).status == 201
    for body in (fits + b" " * (MAX_BODY_BYTES - len(fits) + 1), b"x" * (3 * MAX_BODY_BYTES)):
        for path in ("roles/", "check", "check/batch"):
            refused(raw(cast.root, body, path=path), 413, "too_large")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json", "application/xml", "x"]
)
def test_another_kind_of_body_is_refused(cast: Cast, kind: str) -> None:
    refused(raw(cast.root, b'{"name": "any"}', kind), 415, "unsupported_media_type")


def test_a_multipart_body_is_refused(cast: Cast) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nany\r\n--b--\r\n'
    refused(raw(with_key(make_key("m", is_admin=True)), body, "multipart/form-data; boundary=b"), 415, "unsupported_media_type")
    refused(raw(cast.root, body, "multipart/form-data; boundary=b"), 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON", ""])
def test_json_is_json_whatever_is_said_of_its_letters(cast: Cast, kind: str) -> None:
    assert raw(cast.root, b'{"name": "any"}', kind).status == 201


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "nonsense", "application/problem+json"])
def test_answers_are_json_whatever_is_accepted(cast: Cast, accept: str) -> None:
    answer = cast.root.get("roles/", Accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    refused(cast.root.get("roles/none/", Accept=accept), 404, "not_found")


class TestFaults:
    """What lies below the API fails: the caller is told what they can do, never what broke inside."""

    @pytest.fixture
    def failing(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> Any:
        def fail_with(error: Exception) -> Any:
            def fail(*_: Any, **__: Any) -> Any:
                raise error

            monkeypatch.setattr(pdp, "decide", fail)
            answer = cast.plain_key.client.post("/api/v1/check", ASKED, "application/json", headers=cast.plain_key.headers)
            return answer

        return fail_with

    def test_an_unavailable_decision_says_when_to_ask_again(self, failing: Any) -> None:
        answer = failing(Unavailable("the database does not answer", retry_after_s=2.5))
        assert (answer.status_code, answer["Retry-After"]) == (503, "3")
        assert answer.json()["type"] == "/problems/unavailable"

    @pytest.mark.parametrize("error", [OperationalError("password=hunter2"), OperationalError("database is locked")])
    def test_a_database_that_fails_is_unavailable(self, failing: Any, error: Exception) -> None:
        answer = failing(error)
        assert (answer.status_code, answer["Retry-After"]) == (503, "1")
        assert "hunter2" not in answer.content.decode()

    def test_a_law_of_the_database_is_a_conflict(self, failing: Any) -> None:
        answer = failing(IntegrityError('relation "permissions_role" violates secret_constraint'))
        assert answer.status_code == 409
        assert "secret_constraint" not in answer.content.decode()

    def test_a_value_the_database_cannot_hold_is_a_400(self, failing: Any) -> None:
        assert failing(DataError("value too long")).status_code == 400

    def test_a_fault_of_ours_is_a_500_that_tells_nothing_and_is_logged(
        self, failing: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = failing(RuntimeError("hunter2"))
        assert answer.status_code == 500
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "/problems/fault"
        assert "hunter2" not in answer.content.decode()
        assert "hunter2" in caplog.text


def test_a_key_that_cannot_be_looked_up_is_not_called_wrong(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    from permissions.identity import authentication

    def fail(_: str) -> None:
        raise Unavailable("the database does not answer", retry_after_s=1.0)

    monkeypatch.setattr(authentication, "resolve", fail)
    answer = cast.plain_key.post("check", ASKED)
    refused(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_a_question_about_nothing_real_is_no_fault(cast: Cast) -> None:
    pdp.reset()
    assert cast.plain_key.post("check", ASKED).status == 200
    assert cast.root.post("roles/", ROLE).status == 201
