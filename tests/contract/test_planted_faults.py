"""The contract proves itself: faults planted into a script are found by the tests that would meet them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from resilience.errors import StorageProtocolError
from resilience.operations import OPERATIONS, Operation, Script
from tests.contract.sequences import Step, mechanisms
from tests.contract.stores import RedisAdapter
from tests.contract.test_storage import replay

FAULTS = {
    "no time to live": ("gcra", ", 'PX', ttl_ms(reset()))", ")"),
    "a time to live too short": ("gcra", "ttl_ms(reset())", "ttl_ms(reset() / 2 - 1000000)"),
    "fourteen digits of a stamp": ("gcra", "int(now)", "now .. ''"),
    "a clock that runs back": ("gcra", "now = math.max(now, stamp)", "now = now"),
    "a wrong rounding": ("gcra", "math.ceil(debt / l)", "math.floor(debt / l)"),
    "an answer as text": ("gcra", "return {granted,", "return {tostring(granted),"),
}


@dataclass(frozen=True, slots=True)
class Faulty(Operation):
    """An operation whose script has a part replaced."""

    old: str = ""
    new: str = ""

    @property
    def script(self) -> Script:
        text = Operation(self.name, self.family, self.suffixes, self.calls).script.text
        text = text.replace(self.old, self.new)
        return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_planted_fault_is_found(valkey_url: str, key_prefix: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, old, new = FAULTS[fault]
    sound = OPERATIONS[name]
    assert old in sound.script.text, f"the script has no {old!r} any more: plant the fault where it is now"
    monkeypatch.setitem(OPERATIONS, name, Faulty(name, sound.family, sound.suffixes, sound.calls, old, new))
    adapter = RedisAdapter(valkey_url, key_prefix)
    (mechanism,) = (one for one in mechanisms().values() if name in one.args and one.name == f"limiter_{name}")

    @settings(max_examples=300, phases=[Phase.generate], suppress_health_check=[*HealthCheck], database=None)
    @given(mechanism.sequences(max_size=20, back=True))
    def check(steps: list[Step]) -> None:
        replay(adapter, steps)

    with pytest.raises((AssertionError, StorageProtocolError, ExceptionGroup)):
        check()
    adapter.close()
