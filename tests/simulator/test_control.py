"""What a running simulator says over HTTP: what really flowed, of every meter and area."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from emsd.cli.simulate.kpi_truth import kpi_router
from emsd.errors import ServerError
from emsd.plant.loader import LoadedPlant
from emsd.readings import instant_us
from simulator import Simulator
from simulator.control import create_control, serve_control

ANCHOR = datetime(2025, 6, 14, tzinfo=UTC)
BEGIN = datetime(2025, 6, 14, 3, tzinfo=UTC)  # 11 at the site: the sun shines
END = BEGIN + timedelta(hours=1)


def get(url: str, **headers: str) -> Any:
    asked = urllib.request.Request(url, headers=headers)  # noqa: S310 - of this test's own server
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def simulator_of(example: LoadedPlant) -> Simulator:
    return Simulator(example.plant, example.profiles, anchor=ANCHOR, now_us=lambda: instant_us(END))


def integral_kwh(simulator: Simulator, meter: str, quantity: str) -> float:
    """Integrate a power second by second over the window, by the physics alone."""
    times_us = np.arange(instant_us(BEGIN), instant_us(END), 1_000_000, dtype=np.int64)
    return float(np.sum(simulator.truth.quantity_series(meter, times_us, (quantity,))[quantity]) / 3600)


async def test_the_truth_of_meters_and_areas_is_that_of_the_physics(example: LoadedPlant) -> None:
    simulator = simulator_of(example)
    window = f"from={BEGIN:%Y-%m-%dT%H:%M:%SZ}&to={END:%Y-%m-%dT%H:%M:%SZ}"
    async with serve_control(create_control(simulator, [kpi_router(example)])) as url:
        told = await asyncio.to_thread(get, f"{url}/truth?{window}")
        status = await asyncio.to_thread(get, f"{url}/status")
        figures = await asyncio.to_thread(get, f"{url}/truth/kpis?{window}")
        days = "from=2025-06-11T06:15:00Z&to=2025-06-13T18:00:00Z"
        of_days = await asyncio.to_thread(get, f"{url}/truth/kpis?{days}")
        flowed = await asyncio.to_thread(get, f"{url}/truth?{days}")
        with pytest.raises(urllib.error.HTTPError, match="422"):
            await asyncio.to_thread(get, f"{url}/truth/kpis?from=2025-04-01T00:00:00Z&to=2025-05-03T00:00:00Z")
        long_ago = await asyncio.to_thread(get, f"{url}/truth?from=2025-06-01T00:00:00Z&to=2025-06-02T00:00:00Z")
    assert (status["site"], status["seed"], status["meters"]) == (1, 1, len(example.plant.meters))
    energy = {meter.key for meter in example.plant.meters if example.measures_energy(meter)}
    assert told["meters"].keys() == energy
    for key, meter in told["meters"].items():
        true = simulator.truth.true_energy_kwh(key, instant_us(BEGIN), instant_us(END))
        assert (meter["import_kwh"], meter["export_kwh"]) == true
    incomer, roof, cleanroom = (told["areas"][key] for key in ("substation", "roof", "cleanroom"))
    assert incomer["import_kwh"] == told["meters"]["incomer"]["import_kwh"]
    # What the roof makes, it does not consume; below its feeder the cleanroom's meters are not counted again.
    made = sum(told["meters"][key]["export_kwh"] for key in ("pv-1-inverter", "pv-2-inverter"))
    assert roof["generation_kwh"] == roof["export_kwh"] == pytest.approx(made)
    assert made > 100
    assert roof["consumption_kwh"] == pytest.approx(0.0, abs=1e-9)
    assert cleanroom["import_kwh"] == told["meters"]["cleanroom-feeder"]["import_kwh"]
    chiller = figures["assets"]["chiller-1"]["chiller_cop"]
    assert 2 < chiller["value"] < 9
    cold_kwh = integral_kwh(simulator, "chiller-1-water", "thermal_power_kw")
    assert chiller["value"] == pytest.approx(cold_kwh / told["meters"]["chiller-1-feeder"]["import_kwh"], rel=0.005)
    # Three calendar days, two of them in part: a figure is the ratio of their sums.
    made = flowed["meters"]["pv-1-inverter"]["export_kwh"]
    assert of_days["assets"]["pv-1"]["pv_specific_yield"]["value"] == pytest.approx(made / 600, rel=1e-9)
    watts = 1000 * flowed["areas"]["cleanroom"]["consumption_kwh"] / 59.75
    assert of_days["areas"]["cleanroom"]["power_density"]["value"] == pytest.approx(watts / 3600, rel=1e-9)
    assert of_days["areas"].keys() == {area.key for area in example.plant.areas}
    assert {each["power_density"]["reason"] for each in of_days["areas"].values()} == {None}
    assert long_ago["meters"]["incomer"]["import_kwh"] > 1000  # before the counters began


async def test_wrong_windows_and_other_names_are_refused(example: LoadedPlant) -> None:
    async with serve_control(create_control(simulator_of(example))) as url:
        for query, reason in (
            ("from=2025-06-14T04:00:00Z&to=2025-06-14T03:00:00Z", "before it begins"),
            ("from=2025-06-14T03:00:00&to=2025-06-14T04:00:00", "timezone"),
            ("from=1970-01-01T00:00:00Z&to=2025-06-14T04:00:00Z", "days before the counters do"),
            ("from=2025-06-14T03:00:00Z&to=9999-01-01T00:00:00Z", "days from now"),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                await asyncio.to_thread(get, f"{url}/truth?{query}")
            assert refused.value.code == 422
            assert reason in refused.value.read().decode()
        # A page of another site whose name leads here, as in DNS rebinding.
        with pytest.raises(urllib.error.HTTPError) as refused:
            await asyncio.to_thread(get, f"{url}/status", Host="elsewhere.example")
        assert refused.value.code == 403
        port = int(url.rpartition(":")[2])
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with serve_control(create_control(simulator_of(example)), port):
                pass
