"""Faces: what the meters of a plant show, by their faults and personalities, with the truth for all others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from simulator.counter_faults import Face
from simulator.fault_kinds import KINDS, Layer
from simulator.faults import DeviceFault
from simulator.noise import FloatArray, IntArray
from simulator.personality import Personality
from simulator.truth import SimulatedPlant

__all__ = ["Faces"]


class Faces:
    """Stands between the physics and the devices that show it."""

    def __init__(self, plant: SimulatedPlant, personalities: Mapping[str, Personality]) -> None:
        self.plant = plant
        self._personalities = {key: own for key, own in personalities.items() if own.changes_values}
        self.worn: dict[str, Face] = {}
        """The face of every meter that may show something else than physics says."""
        self.put_on([])

    def put_on(self, faults: Iterable[tuple[DeviceFault, frozenset[str]]]) -> None:
        """Make the faces anew, of these faults and the meters that they concern.

        Raises:
            ConfigurationError: a meter cannot show such a fault; the faces stay as they were.
        """
        of_meter: dict[str, list[DeviceFault]] = {key: [] for key in self._personalities}
        for fault, meters in faults:
            if KINDS[fault.kind].layer is Layer.VALUE:
                for key in meters:
                    of_meter.setdefault(key, []).append(fault)
        self.worn = {key: Face(self.plant, key, own, self._personalities.get(key)) for key, own in of_meter.items()}

    def quantity_series(
        self, meter_key: str, times_us: IntArray, names: Sequence[str] | None = None
    ) -> dict[str, FloatArray]:
        """Return what a meter shows of its quantities, each of shape [times]; all of them where none is named."""
        face = self.worn.get(meter_key)
        if face is None or not any(face.differs(int(each)) for each in times_us):
            return self.plant.quantity_series(meter_key, times_us, names)
        wanted = tuple(self.plant.profile_of(meter_key).quantities if names is None else names)
        shown = [face.shown(int(each), wanted) for each in times_us]
        return {name: np.array([each[name] for each in shown]) for name in wanted}

    def clock_us(self, meter_key: str, time_us: int) -> int:
        """Return what the clock of a meter's device says at an instant."""
        face = self.worn.get(meter_key)
        return time_us if face is None else face.clock_us(time_us)
