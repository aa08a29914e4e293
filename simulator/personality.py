"""How a device behaves when nothing is wrong: how fast it answers, how often it renews, how finely it counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import Field, model_validator

from emsd.errors import ConfigurationError
from emsd.plant.entry import Entry, Key
from emsd.plant.models import Meter, Plant
from emsd.plant.profile import Profile
from simulator.noise import uniform_of

__all__ = ["Personality", "PersonalityEntry", "personalities_of"]


class Personality(Entry):
    """What one device is like; the usual one answers at once and shows what physics says."""

    latency_s: float = Field(default=0.0, ge=0, le=3600, description="From request to answer, at least [s].")
    jitter_s: float = Field(default=0.0, ge=0, le=3600, description="At most this much more [s].")
    refresh_s: float | None = Field(
        default=None, gt=0, le=86_400, description="It renews its values on a beat of its own [s]."
    )
    counter_resolution: float | None = Field(
        default=None,
        gt=0,
        description="One count of its counters, in their own units, where coarser than the register.",
    )
    rollover_at: float | None = Field(
        default=None, gt=0, description="Where its counters begin again at 0, in their own units; absent: never."
    )
    serial: int | None = Field(default=None, ge=1, le=99_999_999, description="Its serial number, as it tells it.")
    max_registers: int | None = Field(
        default=None, ge=1, le=125, description="Reads of more registers are refused with code 3."
    )
    rest_s: float = Field(
        default=0.0, ge=0, le=3600, description="A request that comes sooner after the last is refused as busy [s]."
    )
    max_clients: int | None = Field(
        default=None, ge=1, description="How many clients its connection takes; the next is closed at once."
    )

    @property
    def changes_values(self) -> bool:
        """Whether it shows something else than physics says."""
        own = (self.refresh_s, self.counter_resolution, self.rollover_at, self.serial)
        return any(each is not None for each in own)

    @property
    def changes_answers(self) -> bool:
        """Whether it answers otherwise than at once and to everything."""
        return self.latency_s > 0 or self.jitter_s > 0 or self.rest_s > 0 or self.max_registers is not None

    def renewed_us(self, time_us: int, seed: int, meter_key: str) -> int:
        """Return when the values were taken that it shows at an instant."""
        if self.refresh_s is None:
            return time_us
        period_us = max(1, round(self.refresh_s * 1e6))
        phase_us = int(uniform_of(seed, "refresh", meter_key) * period_us)
        return (time_us - phase_us) // period_us * period_us + phase_us


class PersonalityEntry(Personality):
    """A personality and the devices that have it; with no target, all of them."""

    meter: Key | None = Field(default=None, description="One meter.")
    connection: Key | None = Field(default=None, description="Every meter of a connection.")
    profile: str | None = Field(default=None, description="Every meter of a profile.")
    like_its_profile: bool = Field(
        default=False, description="Latency and refresh as the profile's response_time_s and refresh_s say."
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum(each is not None for each in (self.meter, self.connection, self.profile)) > 1:
            raise ValueError("give one of meter, connection and profile")
        return self

    def concerns(self, meter: Meter) -> bool:
        """Whether a meter is among those that have it."""
        wanted = ((self.meter, meter.key), (self.connection, meter.connection), (self.profile, meter.profile))
        return all(target is None or target == own for target, own in wanted)

    def check(self, plant: Plant) -> None:
        """Refuse a target that no meter of the plant is.

        Raises:
            ConfigurationError: there is none.
        """
        if not any(self.concerns(meter) for meter in plant.meters):
            target = self.meter or self.connection or self.profile or "any device"
            raise ConfigurationError(f"a personality is for {target}, and the plant has no meter of it; correct it")


def personalities_of(
    entries: Iterable[PersonalityEntry], plant: Plant, profiles: Mapping[str, Profile]
) -> dict[str, Personality]:
    """Return the personality of every meter that has one; of several entries for a meter, later ones add and win.

    Raises:
        ConfigurationError: an entry concerns no meter of the plant.
    """
    found: dict[str, Personality] = {}
    for entry in entries:
        entry.check(plant)
        for meter in plant.meters:
            if entry.concerns(meter):
                own = _from_profile(profiles[meter.profile]) if entry.like_its_profile else {}
                said = {name: getattr(entry, name) for name in entry.model_fields_set & set(Personality.model_fields)}
                before = found.get(meter.key, Personality())
                found[meter.key] = before.model_copy(update={**own, **said})
    return found


def _from_profile(profile: Profile) -> dict[str, float]:
    layout = profile.modbus
    if layout is None:
        return {}
    own = {"latency_s": layout.response_time_s, "refresh_s": layout.refresh_s}
    return {name: value for name, value in own.items() if value is not None}
