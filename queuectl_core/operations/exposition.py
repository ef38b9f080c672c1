"""The text format of Prometheus. Only this module imports its library, which is an extra."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ..domain.metrics import BOUNDS, Histogram, Metric


class _Metrics(Collector):
    """Collects these metrics."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Family]:
        """The metrics as the library knows them."""
        return map(_family, self._metrics)


def exposition(metrics: Sequence[Metric]) -> bytes:
    """The metrics in the text format, version 0.0.4, which every Prometheus reads."""
    registry = CollectorRegistry()  # its own: the library's holds numbers of this process
    registry.register(_Metrics(metrics))
    return generate_latest(registry)


def _family(metric: Metric) -> Family:
    names = list(metric.values[0][0]) if metric.values else []
    if metric.kind == "histogram":
        made = HistogramMetricFamily(metric.name, metric.about, labels=names)
        for labels, value in metric.values:
            assert isinstance(value, Histogram)  # noqa: S101 # says its kind
            bounds = [*map(floatToGoString, BOUNDS), "+Inf"]
            buckets = list(zip(bounds, map(float, (*value.buckets, value.count)), strict=True))
            made.add_metric(list(labels.values()), buckets, value.total)
        return made
    if metric.kind == "info":
        [(labels, _)] = metric.values
        return InfoMetricFamily(metric.name.removesuffix("_info"), metric.about, dict(labels))
    simple: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        simple = CounterMetricFamily(metric.name, metric.about, labels=names)
    else:
        simple = GaugeMetricFamily(metric.name, metric.about, labels=names)
    for labels, value in metric.values:
        assert not isinstance(value, Histogram)  # noqa: S101 # says its kind
        simple.add_metric(list(labels.values()), value)
    return simple
