"""Face: what one meter shows, where that is not what flowed; a pure function of time, like the physics behind it.

The truth is asked, never changed: a counter that was reset shows the energy that flowed since, and what really flowed
stays what `SimulatedPlant.true_energy_kwh` says. Faults compose in this order: the instant at which the device took its
values (refresh, freeze), where its counters stand (reset, swap, rollover), how finely it counts, what it adds (dip,
glitch), what it shows instead (out of range, sentinel).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isinf

import numpy as np

from emsd.errors import ConfigurationError
from emsd.plant.modbus_map import INTEGER_WIDTH_BITS
from emsd.quantities import BY_NAME, Kind
from simulator.faults import DeviceFault
from simulator.identities import serial_number
from simulator.noise import uniform_of
from simulator.personality import Personality
from simulator.points import point_of
from simulator.truth import SimulatedPlant

__all__ = ["Face", "modulus_of"]

_STEPS = frozenset({"counter_reset", "counter_rollover", "device_swap"})
_BEYOND = 10.0
_MOST_EXACT = 2.0**53


class Face:
    """One meter with its value faults and its personality.

    Raises:
        ConfigurationError: a fault concerns a quantity that the meter does not have, or cannot show so.
    """

    def __init__(
        self,
        plant: SimulatedPlant,
        meter_key: str,
        faults: Iterable[DeviceFault],
        personality: Personality | None = None,
    ) -> None:
        self.meter_key = meter_key
        self._plant = plant
        self._faults = tuple(sorted(faults, key=lambda each: each.from_us))
        self._personality = personality or Personality()
        self._steps = tuple(each for each in self._faults if each.kind in _STEPS)
        self._bases: dict[tuple[int, str], float] = {}
        self._profile = plant.profile_of(meter_key)
        for each in self._faults:
            self._check(each)

    def differs(self, time_us: int) -> bool:
        """Whether anything but the truth can show at an instant."""
        return self._personality.changes_values or any(
            each.in_force(time_us) and each.kind != "clock_skew" for each in self._faults
        )

    def shown(self, time_us: int, names: Sequence[str]) -> dict[str, float]:
        """Return what the device shows of its quantities at an instant; NaN stands for its sentinel."""
        taken_us = self._personality.renewed_us(time_us, self._plant.seed, self.meter_key)
        counters = [name for name in names if _is_counter(name)]
        gauges = [name for name in names if not _is_counter(name)]
        shown: dict[str, float] = {}
        if counters:
            at_us = self._taken_us(taken_us, "counters")
            physical = self._physical(at_us, counters)
            shown |= {name: self._counted(name, physical[name], at_us) for name in counters}
        if gauges:
            shown |= self._physical(self._taken_us(taken_us, "gauges"), gauges)
        for fault in self._faults:
            if fault.in_force(time_us):
                self._disturb(fault, shown)
        return shown

    def serial(self, time_us: int) -> int:
        """Return the serial number of the device that stands there at an instant."""
        number = self._personality.serial or serial_number(self._plant.seed, self.meter_key)
        for fault in self._faults:
            if fault.kind == "device_swap" and fault.in_force(time_us):
                given = fault.given("serial")
                number = int(given) if isinstance(given, int | float) else self._serial_after(fault)
        return number

    def clock_us(self, time_us: int) -> int:
        """Return what the device's own clock says at an instant."""
        wrong_us = 0.0
        for fault in self._faults:
            if fault.kind == "clock_skew" and fault.in_force(time_us):
                drifted_us = (time_us - fault.from_us) * fault.number("drift_ppm") / 1e6
                wrong_us += fault.number("by_s") * 1e6 + drifted_us
        return time_us + round(wrong_us)

    def words_swapped(self, time_us: int) -> bool:
        """Whether its numbers come in the other word order."""
        return any(each.kind == "words_swapped" and each.in_force(time_us) for each in self._faults)

    def without(self, fault: DeviceFault) -> Face:
        """Return the face that the meter would have without one of its faults."""
        rest = [each for each in self._faults if each is not fault]
        return Face(self._plant, self.meter_key, rest, self._personality)

    def concerned(self, fault: DeviceFault) -> tuple[str, ...]:
        """Return the quantities of the meter that one of its faults is about."""
        names = self._profile.quantities
        counters = tuple(name for name in names if _is_counter(name))
        gauges = tuple(name for name in names if not _is_counter(name))
        given = fault.given("quantity") if "quantity" in fault.of_kind.defaults else None
        if isinstance(given, str):
            return (given,)
        if fault.kind.startswith("counter_") or fault.kind == "device_swap":
            return counters
        if fault.kind in {"out_of_range", "sentinel"}:
            return ("active_power_kw",) if "active_power_kw" in gauges else gauges[:1]
        if fault.kind == "freeze":
            return {"all": (*counters, *gauges), "counters": counters, "gauges": gauges}[fault.word("what")]
        return (*counters, *gauges) if fault.kind == "words_swapped" else ()

    def modulus(self, fault: DeviceFault, name: str) -> float:
        """Return where a counter begins again under a rollover fault.

        Raises:
            ConfigurationError: nobody says, or it is so large that a double cannot count up to it.
        """
        given = fault.given("modulus")
        modulus = float(given) if isinstance(given, int | float) else modulus_of(self._plant, self.meter_key, name)
        if modulus is None:
            raise ConfigurationError(
                f"fault {fault.kind}: {name} of meter {self.meter_key} has no modulus that its profile or register "
                "says; give one as parameter modulus"
            )
        return modulus

    def rolled_over_us(self, fault: DeviceFault, name: str, until_us: int) -> list[int]:
        """Return when a counter under a rollover fault began again, up to an instant."""
        modulus = self.modulus(fault, name)
        found: list[int] = []
        wanted = fault.number("left")
        later = [each.from_us for each in self._steps if each.from_us > fault.from_us]
        until_us = min([until_us, *later])
        base = self._base(fault, name)
        if until_us <= fault.from_us:
            return found
        total = self._physical(until_us, [name])[name] - base
        while wanted <= total and len(found) < 1000:
            low, high = fault.from_us, until_us
            while high - low > 1:
                middle = (low + high) // 2
                reached = self._physical(middle, [name])[name] - base >= wanted
                low, high = (low, middle) if reached else (middle, high)
            found.append(high)
            wanted += modulus
        return found

    def _taken_us(self, taken_us: int, what: str) -> int:
        """Return when the values were taken, while some may stand still."""
        frozen = [
            each.from_us
            for each in self._faults
            if each.kind == "freeze" and each.word("what") in {"all", what} and each.in_force(taken_us)
        ]
        return min([taken_us, *frozen])

    def _physical(self, time_us: int, names: Sequence[str]) -> dict[str, float]:
        instant = np.array([max(time_us, self._plant.anchor_us)], dtype=np.int64)
        series = self._plant.quantity_series(self.meter_key, instant, names)
        return {name: float(values[0]) for name, values in series.items()}

    def _counted(self, name: str, physical: float, time_us: int) -> float:
        """Return where a counter stands that truly counted up to `physical`."""
        start, base, modulus = 0.0, 0.0, self._personality.rollover_at or float("inf")
        for step in self._steps:
            if not step.in_force(time_us) or name not in self.concerned(step):
                continue
            base = self._base(step, name)
            if step.kind == "counter_rollover":
                modulus = self.modulus(step, name)
                start = modulus - step.number("left")
            else:
                start = step.number("value")
                modulus = self._personality.rollover_at or float("inf") if step.kind == "device_swap" else modulus
        value = start + (physical - base)
        if not isinf(modulus):
            value %= modulus
        count = self._personality.counter_resolution
        return value if count is None else float(np.floor(value / count + 1e-6)) * count

    def _base(self, step: DeviceFault, name: str) -> float:
        key = (step.from_us, name)
        if key not in self._bases:
            self._bases[key] = self._physical(step.from_us, [name])[name]
        return self._bases[key]

    def _disturb(self, fault: DeviceFault, shown: dict[str, float]) -> None:
        """Put what a fault adds or shows instead into the values."""
        if fault.kind not in {"counter_dip", "counter_glitch", "out_of_range", "sentinel"}:
            return
        for name in self.concerned(fault):
            if name not in shown:
                continue
            if fault.kind == "counter_dip":
                shown[name] = max(0.0, shown[name] - fault.number("by"))
            elif fault.kind == "counter_glitch":
                shown[name] += fault.number("by")
            elif fault.kind == "out_of_range":
                given = fault.given("value")
                shown[name] = float(given) if isinstance(given, int | float) else _BEYOND * BY_NAME[name].maximum
            else:
                shown[name] = float("nan")

    def _serial_after(self, fault: DeviceFault) -> int:
        chance = uniform_of(self._plant.seed, "serial", self.meter_key, str(fault.seed), str(fault.from_us))
        return 10_000_000 + int(chance * 89_999_999)

    def _check(self, fault: DeviceFault) -> None:
        where = f"fault {fault.kind} of meter {self.meter_key}"
        concerned = self.concerned(fault)
        unknown = sorted(set(concerned) - set(self._profile.quantities))
        if unknown:
            raise ConfigurationError(f"{where}: its profile {self._profile.profile} has no {', '.join(unknown)}")
        if not concerned and fault.kind not in {"clock_skew", "device_swap"}:
            raise ConfigurationError(f"{where}: the meter shows nothing of that kind; choose another meter")
        if fault.kind == "clock_skew" and self._profile.modbus is not None:
            raise ConfigurationError(f"{where}: registers carry no time; choose a meter that publishes by MQTT")
        if fault.kind == "words_swapped" and self._profile.modbus is None:
            raise ConfigurationError(f"{where}: its messages have no words; choose a Modbus meter")
        codes = [name for name in concerned if BY_NAME[name].unit == "code"]
        if fault.kind in {"out_of_range", "sentinel"} and codes:
            raise ConfigurationError(f"{where}: {codes[0]} is a code and no measured value; name another quantity")
        if fault.kind == "sentinel":
            for name in concerned:
                _check_sentinel(self._plant, self.meter_key, name, where)
        if fault.kind == "counter_rollover":
            for name in concerned:
                self.modulus(fault, name)


def modulus_of(plant: SimulatedPlant, meter_key: str, name: str) -> float | None:
    """Return where a counter of a meter begins again, in the quantity's unit, as its profile or its register says.

    None: nobody says, or it lies beyond what a double counts exactly (2^53 counts).
    """
    profile = plant.profile_of(meter_key)
    if profile.modbus is not None:
        source = next(point for point in profile.modbus.points if point.quantity == name)
        point = point_of(source, profile.modbus, plant.exponents_of(meter_key), 0)
        if point.rollover_at is not None:
            return point.rollover_at
        if point.type not in INTEGER_WIDTH_BITS:
            return None
        counts = 2.0 ** (point.width_bits - (1 if point.type.value[0] == "i" else 0))
        return counts * abs(point.scale) if counts <= _MOST_EXACT else None
    if profile.mqtt is not None:
        values = (value for kind in profile.mqtt.kinds for value in kind.values)
        return next((value.rollover_at for value in values if value.quantity == name), None)
    return None


def _check_sentinel(plant: SimulatedPlant, meter_key: str, name: str, where: str) -> None:
    profile = plant.profile_of(meter_key)
    if profile.modbus is None:
        raise ConfigurationError(f"{where}: its messages have no word for 'no value'; choose a Modbus meter")
    source = next(point for point in profile.modbus.points if point.quantity == name)
    point = point_of(source, profile.modbus, plant.exponents_of(meter_key), 0)
    if point.sentinel is None and point.type in INTEGER_WIDTH_BITS and point.states is None:
        raise ConfigurationError(
            f"{where}: its profile lists no word for 'no value' of {name}; choose another quantity"
        )


def _is_counter(name: str) -> bool:
    known = BY_NAME.get(name)
    return known is not None and known.kind is Kind.COUNTER
