"""What a fault changed, when, and what can be known of the energy all the same: the ground truth of faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from emsd.plant.profile import Profile
from simulator.counter_faults import Face
from simulator.fault_kinds import Knowable, Layer
from simulator.faults import DeviceFault
from simulator.live_fault import LiveFault
from simulator.truth import EnergyTruth, SimulatedPlant

_ENERGY: Final = frozenset({"energy_import_kwh", "energy_export_kwh"})

__all__ = ["Change", "FaultRecord", "record_of"]


@dataclass(frozen=True, slots=True)
class Change:
    """A quantity that stopped showing one value and showed another, at an instant; None: no value."""

    time_us: int
    meter: str
    quantity: str
    before: float | None
    """What it would show then without the fault; of a step, the final reading before it."""
    after: float | None


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """One fault of a simulator: what it is, whom it concerned, and what it did up to now."""

    number: int
    fault: DeviceFault
    state: str
    """to_come, in_force, or over."""
    meters: tuple[str, ...]
    hits: int
    """Requests, connections or messages that it has touched; a value fault touches none, it only shows."""
    knowable: Mapping[str, Knowable]
    """What can be known of the energy of each of these meters that measures energy."""
    energy: Mapping[str, EnergyTruth]
    """What really flowed through each energy meter while it was in force, up to now: no fault changes it [kWh]."""
    changes: tuple[Change, ...]
    serials: Mapping[str, tuple[int, int]]
    """Of a swap: the serial numbers before and after, by meter."""


def record_of(
    live: LiveFault,
    plant: SimulatedPlant,
    faces: Mapping[str, Face],
    now_us: int,
    window: tuple[int | None, int | None] = (None, None),
) -> FaultRecord:
    """Make the record of a fault at an instant.

    faces   those that it was made with
    window  begin and end [us] outside of which no energy and no change is told
    """
    fault = live.fault
    begun = fault.from_us <= now_us
    over = begun and not fault.in_force(now_us)
    until_us = min(now_us, fault.until_us) if fault.until_us is not None else now_us
    of_value = begun and fault.of_kind.layer is Layer.VALUE
    own = {key: faces[key] for key in sorted(live.meters) if of_value and key in faces}
    begin_us = fault.from_us if window[0] is None else max(fault.from_us, window[0])
    end_us = until_us if window[1] is None else min(until_us, window[1])
    energy = _energy(plant, live.meters, begin_us, max(begin_us, end_us)) if begun else {}
    changes = (each for key, face in own.items() for each in _changes(key, face, fault, now_us))
    swapped = fault.kind == "device_swap"
    return FaultRecord(
        number=live.number,
        fault=fault,
        state="over" if over else "in_force" if begun else "to_come",
        meters=tuple(sorted(live.meters)),
        hits=live.hits,
        knowable={
            key: _knowable(fault, plant.profile_of(key))
            for key in sorted(live.meters)
            if plant.profile_of(key).measures_energy
        },
        energy=energy,
        changes=tuple(each for each in changes if _is_in(each.time_us, window)),
        serials={
            key: (face.serial(fault.from_us - 1), face.serial(fault.from_us)) for key, face in own.items() if swapped
        },
    )


def _knowable(fault: DeviceFault, profile: Profile) -> Knowable:
    """Return what can be known of a meter's energy: counters tell afterwards what was missed, gauges tell nothing."""
    counters = [name for name in profile.quantities if name in _ENERGY]
    usual = fault.of_kind.knowable
    given = fault.given("quantity") if "quantity" in fault.of_kind.defaults else None
    if usual is Knowable.COUNTER and given in counters:
        return Knowable.TOTAL
    if fault.kind == "freeze" and fault.word("what") == "gauges" and counters:
        return Knowable.ALL
    if given is not None and given not in counters and usual is not Knowable.COUNTER:
        return Knowable.ALL  # a counter of something else than energy
    return Knowable.NOTHING if usual in {Knowable.TOTAL, Knowable.COUNTER} and not counters else usual


def _energy(plant: SimulatedPlant, meters: Iterable[str], from_us: int, until_us: int) -> dict[str, EnergyTruth]:
    """Return what really flowed through those of some meters that measure energy [kWh]."""
    begin_us, end_us = max(from_us, plant.anchor_us), max(until_us, plant.anchor_us)
    found: dict[str, EnergyTruth] = {}
    for key in sorted(meters):
        with suppress(KeyError):
            found[key] = plant.true_energy_kwh(key, begin_us, end_us)
    return found


def _changes(key: str, face: Face, fault: DeviceFault, now_us: int) -> list[Change]:
    """Return when the quantities that a value fault concerns changed, and from what to what."""
    names = face.concerned(fault)
    if fault.kind in {"clock_skew", "words_swapped"} or not names:
        return []
    times = [fault.from_us]
    if fault.until_us is not None and fault.until_us <= now_us:
        times.append(fault.until_us)
    without = face.without(fault)
    found = []
    for at_us in times:
        # At its begin the truth gives way to the fault, at its end the fault to the truth.
        pair = (without.shown(at_us, names), face.shown(at_us, names))
        if at_us != fault.from_us:
            pair = (face.shown(at_us - 1, names), face.shown(at_us, names))
        found += [Change(at_us, key, name, _known(pair[0][name]), _known(pair[1][name])) for name in names]
    found = [each for each in found if each.before != each.after]
    if fault.kind == "counter_rollover":
        for name in names:
            modulus = face.modulus(fault, name)
            found += [Change(at, key, name, modulus, 0.0) for at in face.rolled_over_us(fault, name, now_us)]
    return found


def _is_in(time_us: int, window: tuple[int | None, int | None]) -> bool:
    begin_us, end_us = window
    return (begin_us is None or begin_us <= time_us) and (end_us is None or time_us < end_us)


def _known(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124  (NaN alone differs from itself)
