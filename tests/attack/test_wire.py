"""Malformed requests against the running site: each is refused with a reason, none is a fault, and sound ones are answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from permissions.models import Realm
from permissions.services.keys import key_create
from permissions.writing import SYSTEM
from tests.attack.wire_cases import Cases
from tests.attack.wire_fuzzer import Report, fuzz, play, target
from tests.worlds import apply

REQUESTS = 1500
WORLD = Path(__file__).parents[1] / "conformance/authzen_certification.yaml"


@pytest.mark.django_db(transaction=True)
def test_no_malformed_request_is_a_fault_or_hangs(live_server_asgi):
    apply(WORLD.read_text(encoding="utf-8"))
    realm = Realm.objects.get(name="default")
    _, key = key_create(actor=SYSTEM, realm=realm, name="fuzzer", asserted="override", reason="test")
    report = Report()
    asyncio.run(fuzz(live_server_asgi.url, Cases(20261122, key), REQUESTS, report=report))
    assert report.faults == []
    assert sum(report.sent.values()) == REQUESTS
    # Every kind was drawn, and what can be refused was: else it tests nothing.
    assert len(report.sent) == 20
    assert report.statuses[400] > REQUESTS / 2
    assert report.statuses[401] > 0 < report.statuses[405]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_thousand_of_them_leave_two_workers_as_they_were():
    with target(None, None) as server:
        assert play(server, seed=1, number=200_000) == []
