"""Units of a device server: their registers, renewed from physics when somebody asks and they are too old.

A bank is a group of units with one layout that are renewed together. Few units get a bank each, so that their values
are taken at the very request; many share one, so that a thousand meters cost a thousandth each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from emsd.errors import ConfigurationError
from simulator.counter_faults import Face
from simulator.identities import serial_number
from simulator.layout import Layout, Span, wanted_quantities
from simulator.noise import FloatArray
from simulator.readouts import SHOWN
from simulator.truth import SimulatedPlant
from simulator.words import WordArray

__all__ = ["SHARED_FROM_UNITS", "Bank", "Registers", "Unit"]

SHARED_FROM_UNITS = 32
"""From this many units of one layout on an endpoint, they are renewed together, with those of all such endpoints."""


class Registers(Protocol):
    """Registers of units with one layout, wherever their values come from."""

    @property
    def layout(self) -> Layout:
        """How they are laid out, and refused."""

    @property
    def unit_bytes(self) -> int:
        """Length of one unit's part of the image."""

    def image(self) -> bytes:
        """Return the registers of all units as they travel, one after the other."""


class Bank:
    """Registers of some meters with one layout.

    Raises:
        ConfigurationError: their profile has a quantity that no simulated meter can show.
    """

    def __init__(
        self,
        physics: SimulatedPlant,
        layout: Layout,
        meter_keys: Sequence[str],
        *,
        now_us: Callable[[], int],
        refresh_s: float,
    ) -> None:
        self.layout = layout
        self._physics = physics
        self._bench = physics.bench(meter_keys)
        self._names = wanted_quantities(layout)
        hidden = sorted(set(self._names) - SHOWN)
        if hidden:
            raise ConfigurationError(
                f"profile {layout.profile.profile}: the simulator cannot show {', '.join(hidden)}; "
                "leave its meters out of the plant to simulate"
            )
        self._now_us = now_us
        self._refresh_us: int = round(refresh_s * 1e6)
        self._templates = np.stack([layout.image_template(serial_number(physics.seed, key)) for key in meter_keys])
        self._positions = {key: position for position, key in enumerate(meter_keys)}
        self._faces: dict[int, Face] = {}
        self._taken_us: int | None = None
        self._image = b""

    @property
    def unit_bytes(self) -> int:
        """Length of one unit's part of the image."""
        return 2 * int(self._templates.shape[1])

    def image(self) -> bytes:
        """Return the registers of all units, one after the other, no older than `refresh_s`."""
        now = self._now_us()
        if self._taken_us is None or abs(now - self._taken_us) >= self._refresh_us:
            self.renew(now)
        return self._image

    def wear(self, faces: Mapping[str, Face]) -> None:
        """Let meters show what their faces do; those that are not named show what is true."""
        self._faces = {self._positions[key]: face for key, face in faces.items() if key in self._positions}
        self._taken_us = None

    def renew(self, now_us: int) -> None:
        """Take the values of one instant."""
        values = self._physics.look(self._bench, np.array([now_us], dtype=np.int64), self._names)
        worn = {position: face for position, face in self._faces.items() if face.differs(now_us)}
        image = self._images_worn(now_us, values, worn) if worn else self.layout.images(values, self._templates)
        self._image = image.astype(">u2").tobytes()
        self._taken_us = now_us

    def _images_worn(self, now_us: int, values: Mapping[str, FloatArray], worn: Mapping[int, Face]) -> WordArray:
        """Return the registers while some meters show something else than physics says."""
        seen = {name: np.array(value, dtype=np.float64) for name, value in values.items()}
        templates = self._templates.copy()
        for position, face in worn.items():
            for name, value in face.shown(now_us, self._names).items():
                seen[name][position] = value
            templates[position] = self.layout.image_template(face.serial(now_us))
        image = self.layout.images(seen, templates)
        for position, face in worn.items():
            if face.words_swapped(now_us):
                self.layout.turn_words(image[position])
        return image


@dataclass(slots=True)
class Unit:
    """One Modbus unit, and what it was asked."""

    meter_key: str
    bank: Registers
    position: int
    requests: int = 0
    refusals: Counter[int] = field(default_factory=Counter)
    """Exceptions answered, by code."""

    def read(self, function: int, address: int, count: int) -> bytes | int:
        """Return the registers as they travel, or the exception code of the refusal."""
        self.requests += 1
        plan = self.bank.layout.plan(function, address, count)
        if not isinstance(plan, Span):
            self.refusals[plan] += 1
            return plan
        start = self.position * self.bank.unit_bytes
        return self.bank.image()[start + plan.start : start + plan.stop]
