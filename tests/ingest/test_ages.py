"""How old readings are when they are committed, as Prometheus counts it."""

from __future__ import annotations

from emsd.ingest.ages import BOUNDS_S, AgeHistogram, Ages
from emsd.ingest.pipeline import Pipeline
from emsd.store.pool import Pool
from tests.ingest.test_pipeline import power, running, until


def test_each_age_falls_into_the_bucket_whose_bound_it_does_not_exceed() -> None:
    ages = Ages()
    ages.add([100.0 - age for age in (0.0, BOUNDS_S[0], 0.0625, 1.75, 1000.0)], committed_s=100.0)
    ages.add([99.5], committed_s=100.0)
    found = ages.histogram()
    within = dict(found.cumulative())
    assert within["0.05"] == 2
    assert within["0.1"] == 3
    assert within["0.4"] == 3
    assert within["0.5"] == within["1.5"] == 4
    assert within["2"] == within["300"] == 5
    assert within["+Inf"] == 6
    assert abs(found.sum_s - (0.05 + 0.0625 + 1.75 + 1000.0 + 0.5)) < 1e-6


def test_nothing_is_counted_before_the_first_reading() -> None:
    assert Ages().histogram() == AgeHistogram()
    assert set(dict(AgeHistogram().cumulative()).values()) == {0}


async def test_every_committed_reading_is_in_the_histogram_whether_polled_or_awaited(pool: Pool) -> None:
    async with running(Pipeline(pool)) as pipeline:
        for number in range(70):
            pipeline.offer(power(number))
        for number in range(70, 80):
            pipeline.deliver(power(number), lambda _refusal: None)
        await until(lambda: pipeline.stats().stored == 80)
        found = pipeline.stats().commit_age
    assert sum(found.counts) == 80
    assert found.sum_s > 0
