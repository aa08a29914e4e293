"""DeviceFault: what goes wrong with one simulated meter or connection, from when until when; data and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from emsd.errors import ConfigurationError
from emsd.quantities import BY_NAME, Kind
from simulator.fault_kinds import KINDS, FaultKind, FaultParameter

__all__ = ["DeviceFault"]


@dataclass(frozen=True, slots=True)
class DeviceFault:
    """One fault of one meter, or of every meter of a connection.

    `until_us` None: until it is removed. Chance is drawn from `seed` alone. What `parameters` do not name is as the
    kind has it, see `simulator.fault_kinds.KINDS`.

    Raises:
        ConfigurationError: there is no such kind, target or parameter, or a value is not one that it can have.
    """

    kind: str
    from_us: int
    until_us: int | None = None
    meter: str | None = None
    connection: str | None = None
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    seed: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            close = get_close_matches(self.kind, KINDS, n=3, cutoff=0.5)
            raise ConfigurationError(
                f"there is no fault {self.kind!r}; " + (f"did you mean {' or '.join(close)}?" if close else
                f"there are {', '.join(KINDS)}")
            )  # fmt: skip
        kind = self.of_kind
        if (self.meter is None) == (self.connection is None):
            raise ConfigurationError(f"fault {self.kind} needs either a meter or a connection; give one of them")
        if kind.of_connection and self.connection is None:
            raise ConfigurationError(
                f"fault {self.kind} happens to a whole connection; give the connection, not a meter"
            )
        if kind.is_step and self.until_us is not None:
            raise ConfigurationError(f"fault {self.kind} happens at one instant and cannot end; leave its end out")
        if self.until_us is not None and self.until_us <= self.from_us:
            raise ConfigurationError(f"fault {self.kind} ends before it begins; give it a later end")
        known = {each.name: each for each in kind.parameters}
        unknown = sorted(set(self.parameters) - set(known))
        if unknown:
            raise ConfigurationError(
                f"fault {self.kind} has no parameter {', '.join(unknown)}; it knows {', '.join(known) or 'none'}"
            )
        for name, value in self.parameters.items():
            _check(self.kind, known[name], value)

    @property
    def of_kind(self) -> FaultKind:
        """The row of its kind."""
        return KINDS[self.kind]

    @property
    def target(self) -> str:
        """The key of what it happens to."""
        return self.meter or self.connection or ""

    def in_force(self, time_us: int) -> bool:
        """Whether it is in force at an instant; its end belongs to it no more."""
        return self.from_us <= time_us and (self.until_us is None or time_us < self.until_us)

    def number(self, name: str) -> float:
        """Return a parameter that is a number and has a default, or was given.

        Raises:
            KeyError: it has no value.
        """
        value = self.given(name)
        if not isinstance(value, int | float):
            raise KeyError(name)
        return float(value)

    def word(self, name: str) -> str:
        """Return a parameter that is a word; raises KeyError when it has no value."""
        value = self.given(name)
        if not isinstance(value, str):
            raise KeyError(name)
        return value

    def given(self, name: str) -> float | str | None:
        """Return a parameter as it was given, else its default; None: it depends on the device."""
        return self.parameters.get(name, self.of_kind.defaults[name])


def _check(kind: str, parameter: FaultParameter, value: float | str) -> None:
    """Refuse a value that the parameter cannot have."""
    where = f"fault {kind}: {parameter.name} {value!r}"
    if parameter.words:
        if value not in parameter.words:
            raise ConfigurationError(f"{where} is not one of {', '.join(parameter.words)}")
        return
    if parameter.is_text:
        if not isinstance(value, str) or value not in BY_NAME:
            close = get_close_matches(str(value), BY_NAME, n=3, cutoff=0.5)
            raise ConfigurationError(f"{where} is not a quantity; did you mean {' or '.join(close) or 'another'}?")
        if kind.startswith("counter_") and BY_NAME[value].kind is not Kind.COUNTER:
            raise ConfigurationError(f"{where} is a gauge, and {kind} is of counters; name a counter")
        return
    if isinstance(value, str | bool) or not parameter.minimum <= value <= parameter.maximum:
        raise ConfigurationError(f"{where} is not a number from {parameter.minimum:g} to {parameter.maximum:g}")
    if parameter.whole and value != int(value):
        raise ConfigurationError(f"{where} is not a whole number")
