"""Figures in the formats that Prometheus reads: prometheus-client writes them, what they are is ours."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

from controlplane.collector.merging import add, is_told, rule_of
from controlplane.collector.slots import Figures, Series
from resilience import telemetry
from resilience.telemetry import Metric

# Longer ones are no name that a person gave to a rule or a breaker.
MAX_LABEL: Final = 200


# Names that are nobody's business where anybody may ask: a realm may be a tenant's.
PRIVATE: Final = "realm"


class Source:
    """What prometheus-client's encoders take for a registry: families of one moment."""

    def __init__(self, figures: Figures, *, with_names: bool) -> None:
        self._figures, self._with_names = figures, with_names

    def collect(self) -> Iterator[Family]:
        values: dict[str, dict[Series, float]] = defaultdict(dict)
        for series, value in (*self._figures.counters.items(), *self._figures.gauges.items()):
            values[series[0]][series] = value
        for name, metric in sorted(telemetry.METRICS.items()):
            if metric.kind == "histogram":
                yield _histogram(metric, self._figures.histograms)
            else:
                yield _plain(*self._told(metric, values.get(name, {})))

    def _told(self, metric: Metric, values: dict[Series, float]) -> tuple[Metric, dict[Series, float]]:
        """Over all realms as over all processes: by the metric's own rule."""
        if self._with_names or PRIVATE not in metric.labels:
            return metric, values
        at = metric.labels.index(PRIVATE)
        merged: dict[Series, float] = {}
        for series, value in values.items():
            if is_told(metric, series):
                rule = "sum" if metric.kind == "counter" else rule_of(metric.name)
                add(merged, (series[0], series[1][:at] + series[1][at + 1 :]), value, rule)
        return replace(metric, labels=metric.labels[:at] + metric.labels[at + 1 :]), merged


def _plain(metric: Metric, values: Mapping[Series, float]) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for series, value in sorted(values.items()):
        if is_told(metric, series) and not math.isnan(value):
            family.add_metric(_shown(series[1]), value)
    # A counter without labels is there from the first scrape: what appears later begins with a jump that no rate shows.
    if metric.kind == "counter" and not metric.labels and not family.samples:
        family.add_metric([], 0)
    return family


def _histogram(metric: Metric, held: Mapping[Series, tuple[list[float], float]]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*metric.buckets, math.inf]
    for series, (counts, total) in sorted(held.items()):
        if series[0] == metric.name and len(series[1]) == len(metric.labels) and len(counts) == len(bounds):
            family.add_metric(_shown(series[1]), list(_cumulative(bounds, counts)), total)
    return family


def _cumulative(bounds: Iterable[float], counts: Iterable[float]) -> Iterator[tuple[str, float]]:
    so_far = 0.0
    for bound, counted in zip(bounds, counts, strict=True):
        so_far += counted
        yield floatToGoString(bound), so_far  # type: ignore[no-untyped-call]  # the only one there without types


def _shown(labels: Iterable[str]) -> list[str]:
    # A lone surrogate cannot be written as UTF-8, and would cost the whole page.
    return [label[:MAX_LABEL].encode("utf-8", "replace").decode() for label in labels]


def written(figures: Figures, accept: str, *, with_names: bool = False) -> tuple[bytes, str]:
    """The page and its content type: what the scraper asked for, OpenMetrics or Prometheus' own text.

    `with_names`: realms by name, for callers who have proved who they are.
    """
    encoder, content_type = choose_encoder(accept)
    return encoder(Source(figures, with_names=with_names)), content_type
