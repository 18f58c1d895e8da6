"""What Prometheus is sent: its own parser reads it, and every figure of the table is there."""

from __future__ import annotations

import math

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from controlplane.collector.exposition import written
from controlplane.collector.slots import Figures
from resilience import telemetry
from resilience.telemetry import Metric


@pytest.fixture
def duration(monkeypatch):
    metric = Metric("test_seconds", "histogram", ("way",), "how long", (0.1, 1.0))
    monkeypatch.setitem(telemetry.METRICS, metric.name, metric)
    return metric.name


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("", plain), ("text/plain;version=0.0.4", plain), ("application/openmetrics-text;version=1.0.0", openmetrics)],
)
def test_every_metric_of_the_table_is_named_with_kind_and_help(accept, parse):
    body, content_type = written(Figures(), accept)
    families = {family.name: family for family in parse(body.decode())}
    assert ("openmetrics" in content_type) == (parse is openmetrics)
    for name, metric in telemetry.METRICS.items():
        family = families[name.removesuffix("_total") if metric.kind == "counter" else name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def test_a_counter_without_labels_is_there_from_the_first_scrape():
    samples = [sample for family in plain(written(Figures(), "")[0].decode()) for sample in family.samples]
    assert {sample.name: sample.value for sample in samples}["permission_cache_misses_total"] == 0
    assert all(not sample.labels for sample in samples)


def test_a_histogram_adds_up_what_lies_below(duration):
    body, _ = written(Figures({}, {}, {(duration, ("wire",)): ([3.0, 2.0, 1.0], 7.5)}), "")
    (family,) = [family for family in plain(body.decode()) if family.name == duration]
    told = {(sample.name, sample.labels.get("le")): sample.value for sample in family.samples}
    assert told == {
        ("test_seconds_bucket", "0.1"): 3,
        ("test_seconds_bucket", "1.0"): 5,
        ("test_seconds_bucket", "+Inf"): 6,
        ("test_seconds_count", None): 6,
        ("test_seconds_sum", None): 7.5,
    }


@pytest.mark.parametrize("label", ['a"b', "a\\b", "a\nb", "", "名", "x" * 5000, "\ud800"])
def test_no_label_can_break_the_page(label):
    body, _ = written(Figures({("resilience_retry_total", (label, "ok")): 1.0}), "")
    (sample,) = [s for family in plain(body.decode()) if family.name == "resilience_retry" for s in family.samples]
    assert sample.value == 1 and len(sample.labels["name"]) <= 200


def test_what_another_release_named_or_labelled_otherwise_is_left_out(duration):
    strange = Figures(
        {("resilience_retry_total", ("one",)): 1.0, ("gone_total", ()): 1.0},
        {("permsite_nodes", ()): math.nan},
        {(duration, ("wire",)): ([1.0], 1.0), (duration, ()): ([1.0, 1.0, 1.0], 1.0)},
    )
    names = {s.name for family in plain(written(strange, "")[0].decode()) for s in family.samples}
    assert not names & {"resilience_retry_total", "gone_total", "permsite_nodes", "test_seconds_count"}


def test_realms_are_named_to_callers_with_a_key_alone_and_told_together_to_anybody():
    """A realm may be a tenant's: its name is nobody's business."""
    age, revision = "permission_cache_age_seconds", "permission_cache_revision"
    figures = Figures(
        {}, {(age, ("acme",)): 2.0, (age, ("other",)): 5.0, (revision, ("acme",)): 3.0, (revision, ("other",)): 9.0}
    )
    shown = written(figures, "")[0].decode()
    assert "acme" not in shown and f"\n{age} 5.0\n" in shown and f"\n{revision} 3.0\n" in shown
    assert f'{age}{{realm="acme"}} 2.0' in written(figures, "", with_names=True)[0].decode()
