"""`manage.py demo_load`: this machine only, bounded, a bit of everything, through a restart, and nothing left behind."""

from __future__ import annotations

import json
import random
import threading
import urllib.request
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from permsite import keep
from permsite.load import Load, NotLocalError, Tally, local
from permsite.traffic import DAY_S, NIGHT, ROLE, Call, Day, World, busy
from tests.permsite.commands import run
from tests.permsite.test_launcher import wait_until


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.1:8000",
        "http://0.0.0.0:8000",
        "http://127.0.0.2:8000",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com",
        "http://a:b@127.0.0.1:8000",
        "https://127.0.0.1:8000",
        "ftp://localhost",
        "//localhost",
        "localhost:8000",
        "http://[::1",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:eight",
        "http://127.0.0.1:8000/elsewhere",
        "http://127.0.0.1:8000?x=1",
        "http://lоcalhost:8000",  # with a Cyrillic letter
        "",
    ],
)
def test_no_other_machine_is_ever_called(url: str) -> None:
    with pytest.raises(NotLocalError, match=r"machine|address|port"):
        local(url)


def test_localhost_is_called_by_its_number() -> None:
    assert local("http://localhost:8123/").url == "http://127.0.0.1:8123"
    assert local(" http://127.0.0.1 ").port == 80


@pytest.mark.parametrize("option", ["--rate", "--seconds"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1.5", "1e3", "", "99999", "١٢", "9" * 400])
def test_a_bound_is_a_whole_number_within_reason(option: str, value: str) -> None:
    with pytest.raises(CommandError, match="whole number"):
        call_command("demo_load", f"{option}={value}")


def test_without_a_demo_it_says_what_to_do(settings: Any, tmp_path: Any) -> None:
    settings.VAR = tmp_path
    with pytest.raises(CommandError, match="start the demo first"):
        call_command("demo_load")


def test_a_day_has_a_night_and_a_noon() -> None:
    shares = [busy(second) for second in range(int(DAY_S))]
    assert min(shares) == pytest.approx(NIGHT, abs=0.01) and max(shares) == pytest.approx(1.0, abs=0.01)
    assert all(NIGHT <= share <= 1 for share in shares)
    assert busy(5.0) == pytest.approx(busy(5.0 + 7 * DAY_S))


def test_the_mixture_holds_a_bit_of_everything() -> None:
    world = World(["user:a", "user:b"], ["post:read", "post:edit", "note:write"], ["post:1", "server:2"])
    day = Day(world, random.Random(3), [{"subject": "user:a", "permission": "note:write", "resource": "server:2"}])
    kinds = {day.call().counts for _ in range(2_000)}
    assert kinds == {"evaluation", "check", "batch", "unknown", "explain", "search", "list"}
    assert {day.change().counts for _ in range(50)} >= {"bind", "role"}


def test_answers_are_counted_one_by_one() -> None:
    tally = Tally()
    tally.answer(Call("batch", "POST", "/"), {"evaluations": [{"decision": True}, {"decision": False}, {"decision": 1}]}, 0.1)
    tally.answer(Call("check", "POST", "/"), {"allowed": True}, 0.1)
    tally.answer(Call("list", "GET", "/"), [], 0.1)
    assert (tally.answers["allowed"], tally.answers["denied"], tally.answered) == (2, 1, 3)


@pytest.mark.timeout(240)
def test_it_goes_on_over_a_restart_and_leaves_the_realm_as_it_was(tmp_path: Any) -> None:
    stop = threading.Event()
    with run("demo", folder=tmp_path) as demo:
        url = demo.wait_for(r"site +(http://\S+?)/admin/")[1]
        key = keep.read(tmp_path / "api_key")
        load = Load(local(url), key, rate=40, seconds=600, chance=random.Random(1))
        thread = threading.Thread(target=load.run, args=(stop, lambda *_: None), kwargs={"start_s": 30.0})
        thread.start()
        wait_until(lambda: load.tally.answered > 40 and load.tally.kinds["bind"] > 0)
        assert not load.tally.failed, load.tally.errors
        demo.end()
        wait_until(lambda: load.tally.errors["no answer"] > 3)
    before = load.tally.answered
    with run("demo", "--port", url.rpartition(":")[2], folder=tmp_path) as demo:
        demo.wait_for(r"^curl ")
        wait_until(lambda: load.tally.answered > before + 40)
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        assert load.tally.answers["allowed"] and load.tally.answers["denied"]
        request = urllib.request.Request(f"{url}/api/v1/roles/?limit=1000", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert ROLE not in {line["name"] for line in json.load(answer)["results"]}
        command = run("demo_load", "--url", url, "--seconds", "2", "--rate", "20", folder=tmp_path)
        with command as told:
            told.wait_for(r"\d+ answered, \d+ allowed, \d+ denied, 0 errors")
            assert told.process.wait(timeout=30) == 0
