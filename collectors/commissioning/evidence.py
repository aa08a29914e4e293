"""How well decoded values hang together: the physics that a right reading obeys and a wrong one hardly ever does.

A wrong word order, a wrong base or a wrong profile gives numbers too. But the mains has 50 or 60 Hz and one of a few
voltages, a line voltage is the square root of 3 times a phase voltage, apparent power is made of active and reactive
power, and phases add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from emsd.quantities import BY_NAME, Kind

__all__ = ["Evidence", "Verdict", "verdict_on"]

_PHASE_V: Final = ("voltage_l1_n_v", "voltage_l2_n_v", "voltage_l3_n_v")
_LINE_V: Final = ("voltage_l1_l2_v", "voltage_l2_l3_v", "voltage_l3_l1_v")
_CURRENTS: Final = ("current_l1_a", "current_l2_a", "current_l3_a")
_PHASE_KW: Final = ("active_power_l1_kw", "active_power_l2_kw", "active_power_l3_kw")
_NOMINAL_V: Final = (
    57.7, 63.5, 100, 110, 115, 120, 127, 138.6, 200, 208, 220, 230, 240, 254, 277, 347, 380, 400, 415, 440, 460, 480,
    575, 600, 690, 1000, 3300, 3810, 5774, 6000, 6600, 10_000, 11_000, 11_547, 13_800, 20_000, 22_000, 33_000,
)  # fmt: skip
"""Voltages of mains and of the secondary side of transformers, phase or line (IEC 60038:2009, ANSI C84.1) [V]."""
_VOLTAGE_BAND: Final = 0.12
_SMALLEST_SHARE: Final = 1e-6
"""A current or power that is not 0 and smaller than this is no measurement but misunderstood bits."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that speaks for or against a reading.

    `score` is between 0 (cannot be) and 1 (as it should be), `weight` how much it says.
    """

    what: str
    score: float
    weight: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """How likely values are right: `score` between 0 and 1, and why."""

    score: float
    evidence: tuple[Evidence, ...]

    @property
    def reasons(self) -> str:
        """The strongest evidence in words."""
        strongest = sorted(self.evidence, key=lambda each: each.weight * abs(each.score - 0.5), reverse=True)
        return ", ".join(each.what for each in strongest[:3])


def verdict_on(values: Mapping[str, float | None]) -> Verdict:
    """Judge decoded values by quantity, in their canonical units; None is one that could not be decoded."""
    known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    evidence = tuple(_evidence(known, set(values)))
    weight = sum(each.weight for each in evidence)
    score = sum(each.weight * each.score for each in evidence) / weight if weight else 0.0
    decoded = len(known) / len(values) if values else 0.0
    return Verdict(score * (0.5 + 0.5 * decoded), evidence)


def _evidence(known: Mapping[str, float], wanted: set[str]) -> Iterator[Evidence]:
    yield from _frequency(known, wanted)
    yield from _voltages(known, wanted)
    yield from _powers(known)
    yield from _sizes(known)
    yield from _ranges(known, wanted)


def _frequency(known: Mapping[str, float], wanted: set[str]) -> Iterator[Evidence]:
    if "frequency_hz" not in wanted:
        return
    value = known.get("frequency_hz")
    if value is None:
        yield Evidence("no frequency", 0.0, 4.0)
    elif min(abs(value - 50.0), abs(value - 60.0)) <= 1.0:
        yield Evidence(f"frequency {value:.2f} Hz", 1.0, 4.0)
    else:
        yield Evidence(f"frequency {value:.4g} Hz is none of the mains", 0.2 if 45.0 <= value <= 65.0 else 0.0, 4.0)


def _voltages(known: Mapping[str, float], wanted: set[str]) -> Iterator[Evidence]:
    asked = [name for name in (*_PHASE_V, *_LINE_V) if name in wanted]
    if not asked:
        return
    near = [name for name in asked if name in known and _is_nominal(known[name])]
    shown = ", ".join(f"{known[name]:.4g}" for name in asked[:3] if name in known)
    yield Evidence(f"voltages {shown} V" if shown else "no voltages", len(near) / len(asked), 4.0)
    phases, lines = _present(known, _PHASE_V), _present(known, _LINE_V)
    for name, group in (("phase", phases), ("line", lines)):
        if len(group) == 3 and max(group) > 0:
            alike = min(group) / max(group)
            yield Evidence(f"{name} voltages are {'alike' if alike > 0.9 else 'unlike'}", float(alike > 0.9), 2.0)
    if len(phases) == 3 and len(lines) == 3 and sum(phases) > 0:
        ratio = sum(lines) / sum(phases)
        right = abs(ratio / math.sqrt(3.0) - 1.0) < 0.05
        yield Evidence(f"line over phase voltage is {ratio:.3g}", float(right), 3.0)


def _volts(value: float) -> str:
    return f"{value:,.1f}" if 0.05 <= abs(value) < 1e6 else f"{value:.3g}"


def _is_nominal(value: float) -> bool:
    return any(abs(value / nominal - 1.0) <= _VOLTAGE_BAND for nominal in _NOMINAL_V)


def _powers(known: Mapping[str, float]) -> Iterator[Evidence]:
    p, q, s = (known.get(name) for name in ("active_power_kw", "reactive_power_kvar", "apparent_power_kva"))
    if p is not None and s is not None and q is not None and s > _SMALLEST_SHARE:
        right = abs(math.hypot(p, q) / s - 1.0) < 0.1
        yield Evidence(f"P and Q {'make' if right else 'do not make'} S", float(right), 3.0)
    factor = known.get("power_factor")
    if p is not None and s is not None and factor is not None and s > _SMALLEST_SHARE:
        right = abs(abs(p) / s - abs(factor)) < 0.1
        yield Evidence(f"power factor {factor:.2f} {'agrees' if right else 'disagrees'} with P/S", float(right), 2.0)
    phases = _present(known, _PHASE_KW)
    if p is not None and len(phases) == 3 and abs(p) > _SMALLEST_SHARE:
        right = abs(sum(phases) - p) <= 0.05 * abs(p) + 0.01
        yield Evidence(f"phases {'add' if right else 'do not add'} up to the total power", float(right), 3.0)


def _sizes(known: Mapping[str, float]) -> Iterator[Evidence]:
    """Judge magnitudes: misread floats are mostly enormous or next to nothing."""
    names = (*_CURRENTS, "active_power_kw", "reactive_power_kvar", "apparent_power_kva")
    sizes = [abs(known[name]) for name in names if name in known]
    if sizes:
        sane = [size == 0.0 or _SMALLEST_SHARE < size < 1e5 for size in sizes]
        yield Evidence("currents and powers of a sane size", sum(sane) / len(sane), 2.0)


def _ranges(known: Mapping[str, float], wanted: set[str]) -> Iterator[Evidence]:
    """Judge everything by the range of its quantity; one that stays 0 says little."""
    inside = [name for name, value in known.items() if BY_NAME[name].minimum <= value <= BY_NAME[name].maximum]
    if wanted:
        yield Evidence(f"{len(inside)} of {len(wanted)} values within their range", len(inside) / len(wanted), 2.0)
    counters = [value for name, value in known.items() if BY_NAME[name].kind is Kind.COUNTER]
    if counters:
        sane = [value == 0.0 or 1e-3 <= value < 1e10 for value in counters]
        yield Evidence("counters of a sane size", sum(sane) / len(sane), 1.0)
    if known and all(value == 0.0 for value in known.values()):
        yield Evidence("everything reads 0", 0.0, 6.0)


def _present(known: Mapping[str, float], names: Sequence[str]) -> list[float]:
    return [known[name] for name in names if name in known]
