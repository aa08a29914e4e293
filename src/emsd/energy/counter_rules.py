"""What is known of a counter, and what it may plausibly show."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from emsd.energy.events import Ratio
from emsd.energy.series import US_PER_HOUR, US_PER_S, FloatArray, TimeArray

__all__ = ["CONTEXT_SAMPLES", "Allowance", "CounterRules", "allowance_of"]

CONTEXT_SAMPLES = 8
"""How many samples after a suspect one may say what it was."""


@dataclass(frozen=True, slots=True)
class CounterRules:
    """What is known of a counter, to tell energy from faults.

    max_gap_s            longest time between two samples that counts as measured [s]; energy over a longer one is
                         kept and marked as estimated
    max_power_kw         rated power of what is metered [kW]; None when unknown, then every rise is plausible, and a
                         swap for a used meter cannot be told from a restart
    plausibility_factor  how far the mean power between samples may exceed max_power_kw
    count_kwh            resolution, one count of the counter [kWh]
    modulus_kwh          the value at which the counter begins again at 0 [kWh]; None when it never does
    refresh_s            how much older than its sample the counter's value may be [s]: a device that renews its
                         registers every 15 minutes shows 15 minutes of energy between two polls
    hold_samples         successive samples on a new track that prove it without any further rise

    Raises ValueError when a value is out of its range.
    """

    max_gap_s: float
    max_power_kw: float | None = None
    plausibility_factor: float = 1.25
    count_kwh: float = 0.0
    modulus_kwh: float | None = None
    refresh_s: float = 5.0
    hold_samples: int = 3

    def __post_init__(self) -> None:
        positive = {
            "max_gap_s": self.max_gap_s,
            "max_power_kw": self.max_power_kw,
            "plausibility_factor": self.plausibility_factor,
            "modulus_kwh": self.modulus_kwh,
        }
        for name, value in positive.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} {value} must be greater than 0")
        if not (self.count_kwh >= 0 and self.refresh_s >= 0):
            raise ValueError(f"count_kwh {self.count_kwh} and refresh_s {self.refresh_s} must not be negative")
        if not 2 <= self.hold_samples <= CONTEXT_SAMPLES:
            raise ValueError(f"hold_samples {self.hold_samples} is not 2..{CONTEXT_SAMPLES}")

    @property
    def max_gap_us(self) -> float:
        """Return max_gap_s in microseconds."""
        return self.max_gap_s * US_PER_S

    def allowed_slope(self) -> tuple[float, float]:
        """Return the highest plausible energy as offset [kWh] and slope [kWh/us]; the offset is inf when unknown."""
        if self.max_power_kw is None:
            return math.inf, 0.0
        slope = self.max_power_kw * self.plausibility_factor / US_PER_HOUR
        return self.count_kwh + slope * self.refresh_s * US_PER_S, slope


@dataclass(frozen=True, slots=True, eq=False)
class Allowance:
    """The highest plausible rise of a counter between two of its samples.

    offset_kwh  what is plausible in no time, at each sample or at all [kWh]
    slope       what is plausible in a microsecond more [kWh/us], 0 when nothing limits it
    elapsed_us  time of each sample, as the counter lives it [us]
    step_us     from each sample to the next, the same way [us]
    """

    offset_kwh: FloatArray | float
    slope: float
    elapsed_us: TimeArray | FloatArray
    step_us: TimeArray | FloatArray

    def of_steps(self) -> FloatArray:
        """Return it for each step from one sample to the next [kWh]."""
        allowed: FloatArray = np.multiply(self.step_us, self.slope, dtype=np.float64)
        allowed += self.offset_kwh if isinstance(self.offset_kwh, float) else self.offset_kwh[:-1]
        return allowed

    def kwh(self, base: int, i: int) -> float:
        """Return it for the rise from sample base to sample i [kWh]."""
        offset = self.offset_kwh if isinstance(self.offset_kwh, float) else float(self.offset_kwh[base])
        return offset + self.slope * float(self.elapsed_us[i] - self.elapsed_us[base])


def allowance_of(times: TimeArray, step_us: TimeArray, rules: CounterRules, ratio: Ratio | None) -> Allowance:
    """Return what is plausible of a counter at these times and over the steps between them [us], as it shows energy."""
    offset, slope = rules.allowed_slope()
    if ratio is None or not slope:
        return Allowance(offset, slope, times, step_us)
    elapsed_us = ratio.device_us(times)
    refresh_us = elapsed_us - ratio.device_us(times - round(rules.refresh_s * US_PER_S))
    return Allowance(rules.count_kwh + slope * refresh_us, slope, elapsed_us, np.diff(elapsed_us))
