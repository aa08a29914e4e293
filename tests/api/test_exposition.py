"""The text for Prometheus is the library's, whatever is written in one step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from emsd.api.exposition import exposition

PLAIN = "text/plain"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class Many(Collector):
    """A family of as many meters as it is told, and another one behind it."""

    def __init__(self, meters: int) -> None:
        self._meters = meters

    def collect(self) -> Iterator[Metric]:
        for name in ("polls", "requests"):
            family = CounterMetricFamily(name, f"So many {name}\nand a \\.", labels=["meter"])
            for number in range(self._meters):
                family.add_metric([f'# "{number}"\n'], number)
            yield family


def registry_of(meters: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Many(meters))
    Gauge("up", "Up.", registry=registry).set(1)
    busy = Counter("busy", "With a time of creation each.", ["part"], registry=registry)
    took = Histogram("took", "Of several kinds of samples.", ["part"], registry=registry)
    for number in range(meters):
        busy.labels(str(number)).inc()
        took.labels(str(number)).observe(0.1)
    return registry


@pytest.mark.parametrize("accept", ["", PLAIN, OPEN_METRICS])
@pytest.mark.parametrize("meters", [0, 1, 250, 251, 700])
async def test_it_is_byte_for_byte_what_the_library_writes_in_one_go(accept: str, meters: int) -> None:
    registry = registry_of(meters)
    encode, content_type = choose_encoder(accept)
    assert await exposition(registry, accept) == (encode(registry), content_type)


async def test_others_run_while_it_is_written() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other(), name="other")
    await exposition(registry_of(1000), PLAIN)
    task.cancel()
    assert turns > 8
