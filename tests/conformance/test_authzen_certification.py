"""AuthZEN 1.0: its certification levels and interop scenarios, through the site's own ASGI application and a real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from django.core.management import call_command

from permissions import pdp
from permissions.identity import keys
from tests.conformance import authzen_player as player
from tests.conformance.authzen_player import Reply, Transport
from tests.permissions.authzen.wire import call
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

HERE = Path(__file__).parent
PUBLIC_URL = "https://pdp.example.org"


def key_of(world: str, capsys, *, asserted: str = "") -> str:
    apply((HERE / f"{world}.yaml").read_text(encoding="utf-8"), realm=world)
    capsys.readouterr()
    call_command("api_key", "create", "certify", "--realm", world, "--asserted", asserted or player.WORLDS[world])
    return capsys.readouterr().out.strip()


def transport(world: str, settings, capsys, *, asserted: str = "") -> Transport:
    """The site with the world's bundle, asked with a key of `api_key create`."""
    from permsite.asgi import build

    pdp.reset()
    keys.reset()
    settings.PUBLIC_URL = PUBLIC_URL
    key = key_of(world, capsys, asserted=asserted)
    site = build()

    def send(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        pairs = [*headers.items(), ("Authorization", f"Bearer {key}")]
        answer = asyncio.run(call(site, method, path, pairs, [body]))
        try:
            value = json.loads(answer.body)
        except ValueError:
            value = None
        return Reply(answer.status, answer.headers, value)

    return send


def mistakes(level: str, send: Transport, base_url: str) -> dict[str, str]:
    played = {case["id"]: player.play(case, send, base_url) for case in player.cases((level,))}
    return {case_id: mistake for case_id, mistake in played.items() if mistake}


def test_nothing_of_the_facts_is_left_unplayed():
    assert [len(player.cases((level,))) for level in player.LEVELS] == [23, 4, 7, 3, 21, 3, 1]
    assert len(player.facts("authzen_certification")["cases"]) == len(player.cases()) == 62
    assert len(list(player.todo_cases())) == 43
    assert len(list(player.idp_cases())) == 6


@pytest.mark.parametrize("level", player.LEVELS)
def test_a_level_of_the_certification_is_answered_as_it_demands(level: str, settings, capsys):
    assert mistakes(level, transport("authzen_certification", settings, capsys), PUBLIC_URL) == {}


@pytest.mark.parametrize(("asserted", "decision"), [("override", True), ("fill", False), ("ignore", False)])
def test_only_a_key_that_may_override_lets_a_request_decide_against_what_is_stored(asserted, decision, settings, capsys):
    [case] = [case for case in player.cases() if case["id"] == "2.2.5"]
    send = transport("authzen_certification", settings, capsys, asserted=asserted)
    apply("subjects: [{id: 'user:charlie', attributes: {role: guest}}]", realm="authzen_certification")
    body = {**case["body"], "subject": {"type": "user", "id": "charlie", "properties": {"role": "admin"}}}
    assert send("POST", case["path"], case["headers"], json.dumps(body).encode()).json == {"decision": decision}


def test_the_todo_scenario_is_answered_to_the_letter(settings, capsys):
    assert player.play_todo(transport("authzen_todo", settings, capsys)) == []


def test_the_scenario_of_an_identity_provider_finds_what_each_may_delete_and_no_more(settings, capsys):
    assert player.play_idp(transport("authzen_idp", settings, capsys)) == []


def test_all_of_it_holds_over_a_real_server(live_server_asgi, capsys):
    address = live_server_asgi.url
    sends = {world: player.over_http(address, key_of(world, capsys)) for world in player.WORLDS}
    assert {level: mistakes(level, sends["authzen_certification"], address) for level in player.LEVELS} == {
        level: {} for level in player.LEVELS
    }
    assert player.play_todo(sends["authzen_todo"]) == []
    assert player.play_idp(sends["authzen_idp"]) == []
