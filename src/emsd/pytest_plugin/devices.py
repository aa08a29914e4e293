"""Single simulated devices for a test: what they show, and what a right reader gets of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from emsd.pytest_plugin.thread import Loop
    from simulator.device import SetModbusDevice, SetMqttDevice

__all__ = ["OpenDevice", "RunningDevice"]


class RunningDevice:
    """One device that shows what it is told to."""

    def __init__(self, device: SetModbusDevice | SetMqttDevice, loop: Loop) -> None:
        self._device = device
        self._loop = loop

    @property
    def host(self) -> str:
        """Where it answers, or the broker's host."""
        from simulator.device import SetMqttDevice

        return self._device.broker[0] if isinstance(self._device, SetMqttDevice) else self._device.host

    @property
    def port(self) -> int:
        """Where it answers, or the broker's port."""
        from simulator.device import SetMqttDevice

        return self._device.broker[1] if isinstance(self._device, SetMqttDevice) else self._device.port

    @property
    def unit_id(self) -> int:
        """Its Modbus unit id."""
        return self._modbus.unit_id

    @property
    def requests(self) -> int:
        """Modbus requests that it was asked so far."""
        return self._modbus.requests

    @property
    def topics(self) -> list[str]:
        """Where it publishes."""
        return [topic for topic, _ in self.messages]

    @property
    def messages(self) -> list[tuple[str, bytes]]:
        """What it would publish now: (topic, payload)."""
        return self._loop.call(self._mqtt.messages)

    @property
    def values(self) -> dict[str, float | None]:
        """What it has been told to show, in canonical units; None is no value."""
        return self._device.values

    @property
    def truth(self) -> dict[str, float | None]:
        """What a right reader gets of it now, by quantity; None where the device says that it has no value."""
        return self._loop.call(lambda: self._device.truth)

    def set(self, **values: float | None) -> None:
        """Show these quantities from now on; None is no value."""
        self._loop.call(lambda: self._device.set(values))

    def publish(self) -> None:
        """Publish what it has to say once."""
        self._loop.run(self._mqtt.publish())

    @property
    def _modbus(self) -> SetModbusDevice:
        from simulator.device import SetModbusDevice

        if not isinstance(self._device, SetModbusDevice):
            raise TypeError(f"a device of profile {self._device.profile.profile} publishes; nobody asks it")
        return self._device

    @property
    def _mqtt(self) -> SetMqttDevice:
        from simulator.device import SetMqttDevice

        if not isinstance(self._device, SetMqttDevice):
            raise TypeError(f"a device of profile {self._device.profile.profile} publishes nothing; ask it")
        return self._device


class OpenDevice(Protocol):
    """What `emsd_device` is: a function that makes devices, which stay until the test is over."""

    def __call__(
        self,
        profile: str,
        *,
        rated_power_kw: float = 100.0,
        unit_id: int = 1,
        topic: str | None = None,
        **values: float | None,
    ) -> RunningDevice:
        """Return a device of a shipped profile that shows these quantities, and a summer's noon for the others.

        rated_power_kw  size of what it measures; a device with powers of ten has them set for it
        unit_id         of a Modbus device
        topic           own part of the topics of a device that publishes; absent: one that no other has

        Raises:
            KeyError: there is no such profile.
            ConfigurationError: the profile has no such quantity, or is of Sparkplug B.
        """
