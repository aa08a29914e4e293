"""Components of Shelly Gen2 energy meters, as their API describes them: EM and EMData, EM1 and EM1Data.

Sources: https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/ EM, EMData, EM1, EM1Data. Decimals are those
of the examples there: 0.1 W, 0.1 V, 1 mA, 0.1 Hz; energies count 0.01 Wh. A power factor has no sign there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from simulator.noise import FloatArray
from simulator.phases import LINES
from simulator.points import whole_counts

__all__ = ["ENERGY", "GAUGES", "em", "em1", "em1data", "emdata", "energy_record", "moved"]

Values = Mapping[str, float]
Component = dict[str, Any]

ENERGY: Final = ("energy_import_kwh", "energy_export_kwh")
GAUGES: Final = (
    "active_power_kw",
    *(f"active_power_{line}_kw" for line in LINES),
    "apparent_power_kva",
    "power_factor",
    "frequency_hz",
    *(f"voltage_{line}_n_v" for line in LINES),
    *(f"current_{line}_a" for line in LINES),
    "current_n_a",
)
_PHASES: Final = "abc"
_COUNT_KWH: Final = 0.00001
_POWER_THRESHOLD_W: Final = 10.0
_POWER_THRESHOLD_RATIO: Final = 0.05
"""power_threshold: by so much a power has to move to be told (Shelly Pro 3EM, Parameters)."""


def em(values: Values) -> Component:
    """Return the status of em:0: three phases, and their sums."""
    status: Component = {"id": 0}
    apparent_va = []
    for letter, line in zip(_PHASES, LINES, strict=True):
        volts, amperes = values[f"voltage_{line}_n_v"], values[f"current_{line}_a"]
        apparent_va.append(volts * amperes)
        status |= {
            f"{letter}_current": round(amperes, 3),
            f"{letter}_voltage": round(volts, 1),
            f"{letter}_act_power": round(1000 * values[f"active_power_{line}_kw"], 1),
            f"{letter}_aprt_power": round(volts * amperes, 1),
            f"{letter}_pf": round(abs(values["power_factor"]), 2),
            f"{letter}_freq": round(values["frequency_hz"], 1),
        }
    return status | {
        "n_current": round(values["current_n_a"], 3),
        "total_current": round(sum(values[f"current_{line}_a"] for line in LINES), 3),
        "total_act_power": round(1000 * values["active_power_kw"], 3),
        "total_aprt_power": round(sum(apparent_va), 3),
        "user_calibrated_phase": [],
    }


def emdata(values: Values, shares: tuple[float, float, float]) -> Component:
    """Return the status of emdata:0: what each phase has counted, and the sums, which are not netted [Wh]."""
    status: Component = {"id": 0}
    for letter, share in zip(_PHASES, shares, strict=True):
        status[f"{letter}_total_act_energy"] = _counted_wh(values["energy_import_kwh"] * share)
        status[f"{letter}_total_act_ret_energy"] = _counted_wh(values["energy_export_kwh"] * share)
    return status | {
        "total_act": _counted_wh(values["energy_import_kwh"]),
        "total_act_ret": _counted_wh(values["energy_export_kwh"]),
    }


def em1(channel: int, values: Values) -> Component:
    """Return the status of em1:<channel>, the meter on one clamp."""
    return {
        "id": channel,
        "voltage": round(values["voltage_l1_n_v"], 1),
        "current": round(values["current_l1_a"], 3),
        "act_power": round(1000 * values["active_power_kw"], 1),
        "aprt_power": round(1000 * values["apparent_power_kva"], 1),
        "pf": round(abs(values["power_factor"]), 2),
        "freq": round(values["frequency_hz"], 1),
        "calibration": "factory",
    }


def em1data(channel: int, values: Values) -> Component:
    """Return the status of em1data:<channel> [Wh]."""
    return {
        "id": channel,
        "total_act_energy": _counted_wh(values["energy_import_kwh"]),
        "total_act_ret_energy": _counted_wh(values["energy_export_kwh"]),
    }


def moved(before: Component, now: Component) -> bool:
    """Whether a power has moved far enough from what was said last to be told."""
    for name, value in now.items():
        if name.endswith("act_power"):
            change = abs(value - before[name])
            if change >= _POWER_THRESHOLD_W or change > _POWER_THRESHOLD_RATIO * abs(before[name]):
                return True
    return False


def energy_record(series: Mapping[str, FloatArray], shares: tuple[float, ...], lines: tuple[str, ...]) -> list[float]:
    """Return the record of one minute, in the order of EMData.GetData's keys; `series` runs through the minute.

    For each line: energy and its fundamental, both directions [Wh]; lagging and leading reactive energy [varh]; largest
    and smallest active and apparent power [W, VA]; largest, smallest and mean voltage and current [V, A].
    """
    record: list[float] = []
    for share, line in zip(shares, lines, strict=True):
        drawn, returned, lagging, leading = (
            1000 * share * float(series[name][-1] - series[name][0])
            for name in (*ENERGY, "reactive_energy_import_kvarh", "reactive_energy_export_kvarh")
        )
        active = 1000 * share * series["active_power_kw"]
        apparent = 1000 * share * series["apparent_power_kva"]
        record += [round(each, 4) for each in (drawn, drawn, returned, returned, lagging, leading)]
        record += [round(float(each), 1) for one in (active, apparent) for each in (one.max(), one.min())]
        for name in (f"voltage_{line}_n_v", f"current_{line}_a"):
            one = series[name]
            record += [round(float(each), 3) for each in (one.max(), one.min(), one.mean())]
    if len(lines) > 1:
        neutral = series["current_n_a"]
        record += [round(float(each), 3) for each in (neutral.max(), neutral.min(), neutral.mean())]
    return record


def _counted_wh(kwh: float) -> float:
    return round(float(whole_counts(np.array([kwh]), _COUNT_KWH)[0]) * 0.01, 2)
