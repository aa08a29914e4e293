"""The arithmetic behind the figures."""

from __future__ import annotations

import os
import time

import pytest

from bench.processes import growth_mb_per_min, resident_mb, sparkline, usage_of, usage_of_tree
from bench.result import Spread, compared


def test_a_ratio_is_our_speed_as_a_multiple_of_the_bare_one_and_is_taken_round_by_round() -> None:
    faster_is_more = compared("b", "m", "rows/s", [(50.0, 100.0), (90.0, 100.0), (80.0, 200.0)], least_ratio=0.6)
    assert faster_is_more.ratio == Spread(0.5, 0.4, 0.9)
    assert faster_is_more.met is False
    faster_is_less = compared("b", "m", "us", [(2.0, 20.0)], less_is_faster=True, least_ratio=0.6)
    assert faster_is_less.ratio == Spread(10.0, 10.0, 10.0)
    assert faster_is_less.met is True


def test_memory_that_grows_by_a_megabyte_a_second_has_that_slope() -> None:
    assert growth_mb_per_min([(at, 100.0 + at) for at in (0.0, 1.0, 2.5, 4.0)]) == pytest.approx(60.0)
    assert growth_mb_per_min([(0.0, 7.0), (9.0, 7.0)]) == 0.0
    assert growth_mb_per_min([(0.0, 7.0)]) == 0.0


def test_a_sparkline_goes_from_the_least_to_the_greatest_and_keeps_its_width() -> None:
    assert sparkline([1.0, 2.0, 8.0]) == "▁▂█"
    assert len(sparkline([float(at) for at in range(500)], width=60)) <= 60
    assert sparkline([]) == ""


def test_a_process_uses_memory_and_processor_time() -> None:
    before = usage_of(os.getpid())
    ends = time.process_time() + 0.1
    while time.process_time() < ends:
        pass
    assert usage_of(os.getpid()).own_s - before.own_s >= 0.05
    assert usage_of_tree(os.getpid()) >= before.own_s
    assert before.parent == os.getppid()
    assert resident_mb(os.getpid()) > 5
