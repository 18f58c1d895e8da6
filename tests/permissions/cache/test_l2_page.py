"""The example of the page runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from permissions.models import Realm
from permissions.revisions import head
from tests.permissions.cache.l2_cast import layer_on

PAGE = Path(__file__).resolve().parents[3] / "docs" / "subsystems" / "second_layer.md"


def test_the_example_stores_and_finds_a_snapshot(db, settings, valkey_url, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    with layer_on(settings, valkey_url) as layer:
        Realm.objects.filter(name="default").update(suspended=True)  # a revision: before the first one nothing is stored
        at = head("default")
        example = example.replace("found =", "assert layer.writer.settle(20)\nfound =")
        exec(compile(example, str(PAGE), "exec"), {"now_us": 5})
        assert layer.is_up
    assert capsys.readouterr().out == f"user:alice {at.rev} {at.stamp}\n"
