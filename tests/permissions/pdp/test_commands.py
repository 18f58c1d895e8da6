"""The asking commands: what they print, and the exit status 0, 1 or 2."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command

from permissions import pdp
from permissions.lookup import paging
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _office() -> None:
    pdp.reset()
    apply(OFFICE)


def run(*args: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        call_command(*args, stdout=out, stderr=err)
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    return status, out.getvalue(), err.getvalue()


def test_check_access_says_it_by_exit_status() -> None:
    assert run("check_access", "user:alice", "post:edit", "post:7")[0] == 0
    status, out, _ = run("check_access", "user:charlie", "post:edit")
    assert (status, out.split(" (")[0]) == (1, "denied: no_grant")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("charlie", "post:edit"), "type:id"),
        (("user:alice", "post:*"), "pattern"),
        (("user:alice", "post:edit", "--context", "[1]"), "object"),
        (("user:alice", "post:edit", "--context", "{"), "not JSON"),
        (("user:alice", "post:edit", "--realm", "nowhere"), "nowhere"),
    ],
)
def test_a_question_that_cannot_be_answered_ends_with_two(args: tuple[str, ...], said: str) -> None:
    status, out, err = run("check_access", *args)
    assert (status, out) == (2, "")
    assert said in err


def test_explain_access_names_what_decided() -> None:
    status, out, _ = run("explain_access", "user:bob", "post:read", "post:7")
    assert status == 0
    assert "team:writers" in out
    assert "reader" in out
    status, out, _ = run("explain_access", "user:charlie", "post:edit", "post:7")
    assert status == 1
    assert "editor" in out


def test_lists_are_whole_or_say_where_to_go_on() -> None:
    assert run("who_can", "post:read", "post:7") == (0, "user:alice\nuser:bob\n", "")
    status, out, err = run("who_can", "post:read", "post:7", "--limit", "1")
    assert (status, out) == (0, "user:alice\n")
    assert err == "more: --after 'user:alice'\n"
    assert run("who_can", "post:read", "post:7", "--limit", "1", "--after", "user:alice") == (0, "user:bob\n", "")
    assert run("who_can", "post:read", "post:7", "--limit", "2") == (0, "user:alice\nuser:bob\n", "")
    assert run("who_can", "post:read", "post:7", "--after", "user:alicf") == (0, "user:bob\n", "")
    assert run("who_can", "post:read", "--after", "gone")[0] == 2
    assert run("who_can", "post:raed") == (0, "", "there is no permission 'post:raed' in realm 'default'\n")
    assert run("who_can", "permsite.realm:escalate") == (0, "", "")
    assert run("who_can", "post:read", "--limit", "-1") == (2, "", "--limit must not be negative\n")


def test_a_list_longer_than_a_page_of_the_server_is_printed_whole(monkeypatch) -> None:
    whole = run("who_can", "post:read", "post:7"), run("what_can", "user:alice")
    monkeypatch.setattr(paging, "MAX_LIMIT", 1)
    assert (run("who_can", "post:read", "post:7"), run("what_can", "user:alice")) == whole
    assert whole[1][1].count("\n") == 4
    assert run("who_can", "post:read", "post:7", "--limit", "2")[1] == whole[0][1]


def test_what_can_lists_pairs() -> None:
    status, out, _ = run("what_can", "user:bob")
    assert status == 0
    assert "post:read post:7" in out.splitlines()
    assert run("what_can", "user:charlie") == (0, "", "")


def test_pairs_go_on_after_any_line(monkeypatch) -> None:
    apply('resources: [{id: "post:9 x: y"}]\nbindings: [{subject: "user:charlie", allow: ["post:*"]}]')
    lines = run("what_can", "user:charlie")[1].splitlines()
    assert "post:read post:9 x: y" in lines
    for limit in (1, 2, 3):
        found: list[str] = []
        while len(found) < len(lines):
            after = ["--after", found[-1]] if found else []
            status, out, err = run("what_can", "user:charlie", "--limit", str(limit), *after)
            found += out.splitlines()
            assert (status, err) == (0, "" if len(found) == len(lines) else f"more: --after {found[-1]!r}\n")
        assert found == lines
