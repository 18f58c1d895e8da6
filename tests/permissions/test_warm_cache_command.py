"""warm_cache as an operator runs it: where what it fills stays, what failed, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from permissions import pdp
from permissions.cache import database, filling, known_ids
from permissions.cache.realm import STATES
from permissions.management.commands import warm_cache
from permissions.models import HotItem, Realm
from permissions.models.hot import Met
from resilience.clock import SYSTEM as CLOCK
from tests.permissions.cache.l2_cast import layer_on
from tests.worlds import OFFICE, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _office() -> None:
    apply(OFFICE)
    met = [Met("s", f"user:{name}", 9) for name in ("alice", "bob", "charlie")]
    realm = Realm.objects.get(name="default")
    HotItem.objects.meet(realm.pk, CLOCK.now_us() // 3_600_000_000, "direct", met)
    forget()


def forget() -> None:
    pdp.reset()
    filling._after_fork()


def run(*arguments: str) -> int:
    try:
        call_command("warm_cache", *arguments)
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code
    return 0


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the database was asked for, beside heads and models."""
    found: list[Any] = []
    read = database.read_snapshots

    def counting(*given: Any) -> Any:
        found.append(given)
        return read(*given)

    monkeypatch.setattr(database, "read_snapshots", counting)
    return found


def test_it_names_each_component_and_says_that_nothing_is_shared_without_a_store(capsys: Any) -> None:
    assert run() == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:6] == [
        "default: table done",
        "default: filters done, 7 of 7",
        "default: hot_roles done",
        "default: hot_subjects done, 3 of 3",
        "default: chains done, 1 of 1",
        "default: prefetch done",
    ]
    assert out[6].startswith("done after ")
    assert out[6].endswith(warm_cache.WITHOUT_STORE)


def test_a_server_that_starts_afterwards_finds_it_in_the_store(
    valkey_url: str, settings: Any, capsys: Any, reads: list[Any]
) -> None:
    with layer_on(settings, valkey_url):
        assert run("--realm", "default") == 0
        assert capsys.readouterr().out.endswith(f"{warm_cache.WITH_STORE}\n")
        assert reads
        forget()
        reads.clear()
        decision = pdp.check("user:alice", "post:edit")
        assert (decision.allowed, decision.source) == (True, "redis")
        assert reads == []


def test_a_store_that_does_not_answer_is_said(settings: Any, tmp_path: Any, capsys: Any) -> None:
    with layer_on(settings, f"unix://{tmp_path}/nobody.sock", quick=True) as layer:
        layer.link.is_down = True
        layer.link.probe = lambda: None  # type: ignore[method-assign]
        assert run() == 0
        assert "The store does not answer. Without Redis" in capsys.readouterr().out


def test_nothing_waits_for_the_store_while_the_next_part_is_filled(
    valkey_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("permissions.cache.warmup_parts.PART", 1)
    with layer_on(settings, valkey_url) as layer:
        waiting = []
        read = database.read_snapshots

        def looking(*given: Any) -> Any:
            waiting.append(len(layer.writer._jobs))
            return read(*given)

        monkeypatch.setattr(database, "read_snapshots", looking)
        assert run() == 0
    assert waiting == [0] * len(waiting)
    assert len(waiting) >= 3


def test_every_realm_is_warmed_when_asked(capsys: Any) -> None:
    apply(OFFICE.replace("realm: default", "realm: second"), realm="second")
    forget()
    assert run("--all", "--rate", "100000") == 0
    assert {"default", "second"} <= set(STATES)
    assert "second: table done" in capsys.readouterr().out


def test_a_component_that_failed_is_named_and_the_exit_status_says_so(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room for a filter")

    monkeypatch.setattr(known_ids, "load", fail)
    assert run() == 1
    out = capsys.readouterr().out
    assert "default: filters failed: MemoryError: no room for a filter" in out
    assert "default: hot_subjects done, 3 of 3" in out
    assert "failed after" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--realm", "nowhere"), "there is no realm 'nowhere'"),
        (("--realm", ""), "there is no realm ''"),
        (("--realm", "default", "--all"), "give --realm or --all, not both"),
        (("--rate", "0"), "--rate is 0.0; it takes subjects a second, from 1 to 1000000"),
        (("--rate", "nan"), "--rate is nan; it takes subjects a second"),
        (("--rate", "inf"), "--rate is inf; it takes subjects a second"),
        (("--rate", "-5"), "--rate is -5.0; it takes subjects a second"),
    ],
)
def test_what_it_cannot_do_is_told_and_nothing_is_filled(arguments: tuple[str, ...], told: str, capsys: Any) -> None:
    assert run(*arguments) == 2
    assert told in capsys.readouterr().err
    assert STATES == {}


def test_a_rate_that_is_no_number_is_refused() -> None:
    with pytest.raises(CommandError, match="invalid float value"):
        call_command("warm_cache", "--rate", "fast")


def test_the_bar_is_for_terminals_alone(capsys: Any) -> None:
    assert run() == 0
    assert capsys.readouterr().err == ""


def test_its_help_runs_as_a_process_of_its_own(pytestconfig: pytest.Config) -> None:
    command = [sys.executable, "manage.py", "warm_cache", "--help"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=pytestconfig.rootpath, check=True)
    assert "--rate N" in found.stdout
