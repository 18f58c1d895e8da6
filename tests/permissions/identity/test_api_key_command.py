"""api_key: a key alone on stdout, once; a list that shows nothing secret; a revoke that stops it."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from permissions import pdp
from permissions.engine.keys import digest_of
from permissions.identity import keys
from permissions.models import ApiKey
from tests.worlds import OFFICE, apply

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _office() -> None:
    pdp.reset()
    keys.reset()
    apply(OFFICE)


def run(*args: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        call_command("api_key", *args, stdout=out, stderr=err)
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    return status, out.getvalue(), err.getvalue()


def test_a_new_key_is_printed_alone_and_works() -> None:
    status, out, err = run("create", "ci")
    assert (status, err, out.count("\n")) == (0, "", 1)
    caller = keys.resolve(out.strip())
    assert caller is not None
    assert (caller.name, caller.realm, caller.asserted, caller.subject, caller.is_admin) == ("ci", "default", "fill", None, False)


def test_only_its_hash_is_stored() -> None:
    plain = run("create", "ci")[1].strip()
    row = ApiKey.objects.values().get()
    assert row["digest"] == digest_of(plain)
    assert plain.rpartition("_")[2] not in repr(row)


def test_its_options_are_the_keys() -> None:
    apply("realm: other\nsubjects: [{id: 'user:bob'}]")
    for args, expected in (
        (("--asserted", "override"), ("default", "override", None, False)),
        (("--admin",), ("default", "fill", None, True)),
        (("--realm", "other", "--subject", "user:bob", "--asserted", "ignore"), ("other", "ignore", "user:bob", False)),
    ):
        caller = keys.resolve(run("create", " ".join(args).strip("-"), *args)[1].strip())
        assert caller is not None
        assert (caller.realm, caller.asserted, caller.subject, caller.is_admin) == expected


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("create", "ci", "--realm", "nowhere"), "no realm 'nowhere'"),
        (("create", "ci", "--subject", "user:nobody"), "no subject 'user:nobody'"),
        (("create", "ci", "--subject", "nobody"), "subject"),
        (("create", "ci", "--subject", "user:alice", "--admin"), "not both"),
        (("create", ""), "name"),
        (("create", " x"), "name"),
        (("revoke", "ci"), "no key 'ci'"),
        (("list", "--realm", "nowhere"), "no realm 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(args: tuple[str, ...], said: str) -> None:
    status, out, err = run(*args)
    assert (status, out) == (2, "")
    assert said in err
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("args", [(), ("make", "ci"), ("create",), ("create", "ci", "--asserted", "always")])
def test_what_is_not_an_argument_is_refused(args: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run(*args)


def test_a_name_is_taken_until_its_key_is_revoked() -> None:
    first = run("create", "ci")[1].strip()
    status, _, err = run("create", "ci")
    assert (status, "already" in err) == (2, True)
    assert run("revoke", "ci")[:2] == (0, "revoked ci\n")
    assert keys.resolve(first) is None
    assert keys.resolve(run("create", "ci")[1].strip()) is not None


def test_a_list_shows_nothing_that_would_do_as_a_key() -> None:
    plain = run("create", "ci", "--admin")[1].strip()
    run("create", "old")
    run("revoke", "old")
    status, out, _ = run("list")
    assert status == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [(line[0], line[3], line[4].split()[0]) for line in lines] == [
        ("ci", "administrator", "alive"),
        ("old", "asks only", "revoked"),
    ]
    assert plain not in out
    assert plain.rpartition("_")[2] not in out
