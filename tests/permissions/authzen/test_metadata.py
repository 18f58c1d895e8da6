"""Discovery: what the document says, where it stands, and what it never believes."""

from __future__ import annotations

import pytest

from permissions.authzen import metadata
from permissions.authzen.app import create_application
from permissions.authzen.messages import encode
from permissions.authzen.metadata import BadPublicUrlError
from tests.permissions.authzen.wire import METADATA, Callers, Table, application, ask


def test_it_lists_what_is_offered_and_no_more():
    answer = ask(application(), b"", path=METADATA, method="GET", authorization=None, content_type=None)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"].startswith("public, max-age=")
    assert answer.json == {
        "policy_decision_point": "https://pdp.example.org",
        "access_evaluation_endpoint": "https://pdp.example.org/access/v1/evaluation",
        "access_evaluations_endpoint": "https://pdp.example.org/access/v1/evaluations",
        "search_subject_endpoint": "https://pdp.example.org/access/v1/search/subject",
        "search_resource_endpoint": "https://pdp.example.org/access/v1/search/resource",
        "search_action_endpoint": "https://pdp.example.org/access/v1/search/action",
        "capabilities": ["urn:openid:authzen:capability:obligations"],
        "supported_obligations": ["step-up", "notification", "session_termination", "custom"],
    }


def test_no_header_of_a_request_reaches_the_document():
    plain = ask(application(), path=METADATA, method="GET").body
    forged = [("Host", "evil.example"), ("X-Forwarded-Host", "evil.example"), ("Forwarded", "host=evil.example;proto=http")]
    assert ask(application(), path=METADATA, method="GET", headers=forged).body == plain


def test_a_head_request_gives_the_headers_alone():
    get = ask(application(), path=METADATA, method="GET")
    head = ask(application(), path=METADATA, method="HEAD")
    assert (head.status, head.body, head.headers) == (200, b"", get.headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_is_only_read(method):
    answer = ask(application(), path=METADATA, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_it_echoes_a_request_id():
    assert ask(application(), path=METADATA, method="GET", headers=[("X-Request-ID", "7")]).headers["x-request-id"] == "7"


def test_a_trailing_slash_is_no_part_of_the_identifier():
    app = create_application(Table(), Callers(), "https://pdp.example.org/")
    assert ask(app, path=METADATA, method="GET").json["policy_decision_point"] == "https://pdp.example.org"


def test_an_escaped_path_is_answered_where_it_is_asked_for():
    app = create_application(Table(), Callers(), "https://example.org/a%20b")
    assert ask(app, path=f"{METADATA}/a b", method="GET").json["policy_decision_point"] == "https://example.org/a%20b"


def test_below_a_path_the_well_known_name_goes_between_host_and_path():
    app = create_application(Table(), Callers(), "https://example.org/pdp")
    answer = ask(app, path=f"{METADATA}/pdp", method="GET")
    assert answer.json["policy_decision_point"] == "https://example.org/pdp"
    assert answer.json["access_evaluation_endpoint"] == "https://example.org/pdp/access/v1/evaluation"


@pytest.mark.parametrize(
    "public_url",
    [
        "",
        "pdp.example.org",
        "ftp://x.example",
        "https://",
        "https://x.example/?a=1",
        "https://x.example/#a",
        "https://u:p@x.example",
        "https://x.example/?",
        "https://x.example/#",
        "https://x.example:99999",
        "https://x.example:",
        "https://:443",
        "https://[::1",
        "https://x .example",
        "https://x.example\n",
    ],
)
def test_an_address_that_identifies_nothing_stops_the_start(public_url):
    with pytest.raises(BadPublicUrlError, match="PUBLIC_URL"):
        create_application(Table(), Callers(), public_url)


def test_an_endpoint_of_another_module_is_routed_and_told_of(monkeypatch):
    async def subject(call, message):
        return encode({"realm": call.caller.realm, "asked": message})

    monkeypatch.setattr("permissions.authzen.app.FURTHER", {metadata.SEARCH_SUBJECT: subject})
    app = application()
    assert ask(app, {"a": 1}, path="/access/v1/search/subject").json == {"realm": "default", "asked": {"a": 1}}
    document = ask(app, path=METADATA, method="GET").json
    assert document["search_subject_endpoint"] == "https://pdp.example.org/access/v1/search/subject"
    assert "search_resource_endpoint" not in document
