"""No text can crash or hang the process: what the scanner lets through is compiled and run in a process apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from permissions.conditions import cel
from permissions.engine.types import ConditionSyntaxError

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(3))
def test_hostile_texts_neither_crash_nor_hang(seed):
    command = [sys.executable, "-m", "tests.properties.hostile_texts", str(seed), "4000"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False, cwd=ROOT)
    assert ran.returncode == 0, f"the process ended with {ran.returncode}: {ran.stderr[-500:]}"
    compiled, refused, slowest_s = (float(word) for word in ran.stdout.split())
    assert compiled > 300 and refused > 300, "the texts are all of one kind"
    assert slowest_s < 10, f"one text took {slowest_s:.1f} s"


# Each of these kills a process that does not scan texts first, at the latest on a thread's stack.
DEEP = [
    "(" * 500 + "1" + ")" * 500,
    "[" * 500 + "]" * 500,
    "1" + "+1" * 510,
    "context" + ".a" * 500,
    "size(" * 200 + "1" + ")" * 200,
]


@pytest.mark.parametrize("text", DEEP)
def test_a_deep_text_is_refused_before_the_compiler_sees_it(text, monkeypatch):
    monkeypatch.setattr("cel.compile", lambda _: pytest.fail("the compiler was called"))
    with pytest.raises(ConditionSyntaxError):
        cel.language().compile(text)
