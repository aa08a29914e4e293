from __future__ import annotations

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from emsd.collector import MeterHealth, MeterState
from emsd.metrics import ServiceMetrics


class OneMeter:
    """A collector with one meter in a given state."""

    name = "c"

    def __init__(self, state: MeterState) -> None:
        self._state = state

    async def run(self) -> None:
        raise AssertionError

    def health(self) -> Sequence[MeterHealth]:
        return [MeterHealth(7, state=self._state)]

    def connected(self) -> bool:
        return True


@pytest.mark.parametrize("state", MeterState)
def test_every_state_of_a_meter_is_a_label_and_only_trouble_is_below_one(state: MeterState) -> None:
    registry = CollectorRegistry()
    registry.register(ServiceMetrics(meter_keys=lambda: {7: "feeder"}, collectors=lambda: (OneMeter(state),)))
    assert registry.get_sample_value("emsd_meter_state", {"meter": "feeder", "state": state.value}) == 1.0
    up = registry.get_sample_value("emsd_meter_up", {"meter": "feeder"})
    well = {MeterState.OK: 1.0, MeterState.RESTING: 1.0, MeterState.DEGRADED: 0.5}
    assert up == well.get(state, 0.0)
