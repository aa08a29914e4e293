"""The host application without its connection: from a message on a topic to what it means for meters.

Rules: Eclipse Sparkplug Specification 3.0.0, chapters 4 (Topics) and 5 (Operational Behavior).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from collectors.sparkplug.mapping import Mapped, MetricMapping
from collectors.sparkplug.node import EdgeNode, MessageKind, Understood
from collectors.sparkplug.payload import Payload, decode
from collectors.sparkplug.rebirth import NodeName
from emsd.collector import BoundMeter, MeterHealth
from emsd.errors import BadPayload

__all__ = ["NAMESPACE", "Effect", "Host", "Share", "SparkplugMeter"]

NAMESPACE: Final = "spBv1.0"


class SparkplugMeter:
    """A meter with its edge node, its device, its mapping and its health.

    Raises:
        ValueError: its profile has no sparkplug map, or its topic is not `<group>/<edge node>[/<device>]`.
    """

    def __init__(self, bound: BoundMeter) -> None:
        self.mapping = MetricMapping(bound)
        parts = (bound.meter.topic or "").split("/")
        if len(parts) not in {2, 3} or not all(parts):
            raise ValueError("a meter on a Sparkplug B connection needs a topic <group>/<edge node>[/<device>]")
        self.key = bound.meter.key
        self.node = NodeName(parts[0], parts[1])
        self.device = parts[2] if len(parts) == 3 else None
        self.health = MeterHealth(bound.meter_id)
        self.offline_since: int | None = None
        """With which message, counted by the host, its edge node or itself was announced as gone."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a message means for one meter: readings, or why there are none."""

    meter: SparkplugMeter
    mapped: Mapped
    errors: tuple[str, ...] = ()
    """Kinds of failure: `sequence_gap`, `unknown_metric`."""


@dataclass(slots=True)
class Effect:
    """What a message means."""

    shares: list[Share] = field(default_factory=list)
    fallen: list[SparkplugMeter] = field(default_factory=list)
    """Meters that cannot be reached any more."""
    unsettled: list[SparkplugMeter] = field(default_factory=list)
    """Meters on devices of a node that was born again: nothing is known of them until their devices are."""
    bad: str | None = None
    """Why the message as a whole is poison."""
    news: str | None = None
    """Why the fallen are gone."""
    node: NodeName | None = None
    """The edge node that it concerns; None when it concerns no meter's."""
    needs_birth: bool = False
    order: int = 0
    """How many messages the host had heard with it; later ones may become durable earlier."""
    is_settled: bool = False
    """The node has been born, or its birth is not to be asked for any more."""


class Host:
    """What is known of every edge node that has meters of the plant."""

    def __init__(self, meters: Sequence[SparkplugMeter]) -> None:
        self._heard = 0
        self._nodes = {meter.node: EdgeNode() for meter in meters}
        self._meters: dict[NodeName, dict[str | None, list[SparkplugMeter]]] = defaultdict(lambda: defaultdict(list))
        for meter in meters:
            self._meters[meter.node][meter.device].append(meter)

    @property
    def nodes(self) -> tuple[NodeName, ...]:
        """Every edge node with meters."""
        return tuple(self._nodes)

    @property
    def topics(self) -> list[str]:
        """Topic filters of every group with meters."""
        return [f"{NAMESPACE}/{group}/#" for group in sorted({node.group for node in self._nodes})]

    def forget(self) -> None:
        """Trust no alias any more: the connection was lost, and messages with it."""
        for node in self._nodes.values():
            node.forget()

    def receive(self, topic: str, data: bytes, received_us: int, *, repeated: bool = False) -> Effect:
        """Take a message and return what it means.

        Args:
            topic: where it was published.
            data: its payload.
            received_us: its arrival [us since the epoch].
            repeated: the broker says that it may have delivered it before.
        """
        parts = topic.split("/")
        if len(parts) not in {4, 5} or parts[0] != NAMESPACE or parts[2] not in _KINDS:
            return Effect()  # commands, ours among them
        kind, name = MessageKind(parts[2]), NodeName(parts[1], parts[3])
        device = parts[4] if len(parts) == 5 else None
        node = self._nodes.get(name)
        if node is None or kind.of_device != (device is not None):
            return Effect()
        self._heard += 1
        try:
            payload = decode(data)
        except BadPayload as error:
            node.missed()
            return Effect(
                self._shares_of_bad(name, device, str(error)),
                bad=str(error),
                node=name,
                needs_birth=True,
                order=self._heard,
            )
        understood = node.receive(kind, device, payload, data)
        effect = Effect(node=name, needs_birth=understood.needs_birth, order=self._heard)
        if understood.is_repeat or understood.is_outdated:
            return effect
        self._note_lives(effect, kind, name, device, node)
        if kind is not MessageKind.NODE_DEATH:
            effect.shares = self._shares(name, device, understood, payload, received_us, repeated=repeated)
        return effect

    def _note_lives(
        self, effect: Effect, kind: MessageKind, name: NodeName, device: str | None, node: EdgeNode
    ) -> None:
        meters = self._meters[name]
        if kind is MessageKind.NODE_DEATH:
            effect.fallen = [meter for each in meters.values() for meter in each]
            effect.news = f"edge node {name} is offline; it was announced by its death (NDEATH)"
            effect.needs_birth = False
        elif kind is MessageKind.DEVICE_DEATH:
            effect.fallen = list(meters.get(device, ()))
            effect.news = f"device {name}/{device} is offline, says its edge node (DDEATH)"
        elif kind is MessageKind.NODE_BIRTH:
            effect.unsettled = [meter for of, each in meters.items() if of is not None for meter in each]
            effect.is_settled = node.is_born

    def _shares(
        self,
        name: NodeName,
        device: str | None,
        understood: Understood,
        payload: Payload,
        received_us: int,
        *,
        repeated: bool,
    ) -> list[Share]:
        errors = (("sequence_gap",) if understood.gap else ()) + (("unknown_metric",) if understood.unknown else ())
        shares = []
        for meter in self._meters[name].get(device, ()):
            mapped = meter.mapping.read(understood.values, payload.time_ms, received_us, repeated=repeated)
            if errors or not mapped.is_empty:
                shares.append(Share(meter, mapped, errors))
        return shares

    def _shares_of_bad(self, name: NodeName, device: str | None, problem: str) -> list[Share]:
        return [Share(meter, Mapped((), 0, problem)) for meter in self._meters[name].get(device, ())]


_KINDS: Final = frozenset(MessageKind)
