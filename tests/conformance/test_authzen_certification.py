"""The AuthZEN 1.0 certification scenario and the todo scenario, through the site's own ASGI application and a real database."""

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
from tests.conformance.authzen_player import Case, Reply, Transport
from tests.permissions.authzen.wire import call
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

HERE = Path(__file__).parent
PUBLIC_URL = "https://pdp.example.org"


def transport(world: str, settings, capsys, *options: str) -> Transport:
    """The site with the world's bundle, asked with a key of `api_key create`."""
    from permsite.asgi import build

    pdp.reset()
    keys.reset()
    settings.PUBLIC_URL = PUBLIC_URL
    apply((HERE / f"{world}.yaml").read_text(encoding="utf-8"))
    capsys.readouterr()
    call_command("api_key", "create", "certification", *options)
    key = capsys.readouterr().out.strip()
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


@pytest.mark.parametrize("case", player.cases(), ids=lambda case: f"{case['level']} {case['id']}")
def test_the_certification_scenario_is_answered_as_it_demands(case: Case, settings, capsys):
    send = transport("authzen_certification", settings, capsys, "--asserted", "override")
    assert player.play(case, send, PUBLIC_URL) is None


def test_every_offered_level_is_played():
    assert {case["level"] for case in player.facts("authzen_certification")["cases"]} == {*player.OFFERED, *player.LATER}
    assert len(player.cases()) == 38


@pytest.mark.parametrize(("asserted", "decision"), [("override", True), ("fill", False), ("ignore", False)])
def test_only_a_key_that_may_override_lets_a_request_decide_against_what_is_stored(asserted, decision, settings, capsys):
    [case] = [case for case in player.cases() if case["id"] == "2.2.5"]
    send = transport("authzen_certification", settings, capsys, "--asserted", asserted)
    apply("subjects: [{id: 'user:charlie', attributes: {role: guest}}]")
    body = {**case["body"], "subject": {"type": "user", "id": "charlie", "properties": {"role": "admin"}}}
    assert send("POST", case["path"], case["headers"], json.dumps(body).encode()).json == {"decision": decision}


def test_the_todo_scenario_is_answered_to_the_letter(settings, capsys):
    send = transport("authzen_todo", settings, capsys)
    assert len(list(player.todo_cases())) == 43
    assert player.play_todo(send) == []
