"""What an edge node's messages mean: never a value under a wrong alias, and all right again after a birth."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.sparkplug.node import EdgeNode, MessageKind, Understood
from collectors.sparkplug.payload import decode
from emsd.readings import Quality
from tests.collectors.sparkplug_support import BOOLEAN, INT16, ScriptedNode, metric, payload

NBIRTH, NDATA, NDEATH = MessageKind.NODE_BIRTH, MessageKind.NODE_DATA, MessageKind.NODE_DEATH
DBIRTH, DDATA, DDEATH = MessageKind.DEVICE_BIRTH, MessageKind.DEVICE_DATA, MessageKind.DEVICE_DEATH
NOW_MS = 1_767_225_600_000


def told(node: EdgeNode, kind: MessageKind, data: bytes, device: str | None = None) -> Understood:
    return node.receive(kind, device if kind.of_device else None, decode(data), data)


def values(understood: Understood) -> dict[str, float | None]:
    return {value.metric: value.number for value in understood.values}


def born(script: ScriptedNode, device: str = "d") -> EdgeNode:
    node = EdgeNode()
    told(node, NBIRTH, script.node_birth(NOW_MS))
    told(node, DBIRTH, script.device_birth(NOW_MS, Power=1.0, Energy=2.0), device)
    return node


def test_data_by_alias_means_what_the_birth_said() -> None:
    script = ScriptedNode()
    node = EdgeNode()
    first = told(node, NBIRTH, script.node_birth(NOW_MS))
    assert values(first) == {"bdSeq": 0.0, "Node Control/Rebirth": 0.0}
    assert not first.needs_birth
    birth = told(node, DBIRTH, script.device_birth(NOW_MS, Power=1.0, Energy=2.0), "d")
    assert values(birth) == {"Power": 1.0, "Energy": 2.0}
    data = told(node, DDATA, script.data(NOW_MS, Energy=3.0), "d")
    assert (values(data), data.needs_birth, data.unknown) == ({"Energy": 3.0}, False, 0)


def test_the_sequence_wraps_from_255_to_0() -> None:
    script = ScriptedNode()
    node = born(script)
    for turn in range(600):
        data = told(node, DDATA, script.data(NOW_MS + turn, Power=float(turn)), "d")
        assert (values(data), data.gap, data.needs_birth) == ({"Power": float(turn)}, False, False)


def test_a_sequence_of_0_may_be_left_out() -> None:
    script = ScriptedNode()
    node = EdgeNode()
    told(node, NBIRTH, payload(metric(1.0, name="Power", alias=1), time_ms=NOW_MS))
    script.sequence = 1
    assert values(told(node, NDATA, script.data(NOW_MS, Power=4.0))) == {"Power": 4.0}


def test_after_a_gap_no_alias_counts_but_names_do() -> None:
    script = ScriptedNode()
    node = born(script)
    script.data(NOW_MS, Power=9.0)  # lost
    late = told(node, DDATA, script.data(NOW_MS, Power=5.0), "d")
    assert (values(late), late.unknown, late.gap, late.needs_birth) == ({}, 1, True, True)
    named = payload(metric(6.0, name="Power"), metric(7.0, alias=2), seq=script.sequence)
    script.sequence += 1
    both = told(node, DDATA, named, "d")
    assert (values(both), both.unknown, both.gap, both.needs_birth) == ({"Power": 6.0}, 1, False, True)
    told(node, NBIRTH, script.node_birth(NOW_MS))
    told(node, DBIRTH, script.device_birth(NOW_MS, Power=1.0, Energy=2.0), "d")
    healed = told(node, DDATA, script.data(NOW_MS, Power=8.0), "d")
    assert (values(healed), healed.needs_birth) == ({"Power": 8.0}, False)


def test_data_before_a_birth_is_used_as_far_as_it_explains_itself() -> None:
    data = payload(
        metric(1.5, name="Power"),
        metric(-3, name="Energy", datatype=INT16, say_datatype=False),
        metric(-4, name="Typed", datatype=INT16),
        metric(1, name="On", datatype=BOOLEAN, say_datatype=False),
        metric(2.5, alias=1),
        seq=9,
    )
    early = told(EdgeNode(), DDATA, data, "d")
    # Without its type nobody knows whether 65533 is negative.
    assert values(early) == {"Power": 1.5, "Typed": -4.0, "On": 1.0}
    assert (early.unknown, early.needs_birth, early.gap) == (2, True, False)


def test_a_device_that_was_not_born_or_has_died_needs_a_birth() -> None:
    script = ScriptedNode()
    node = born(script)
    other = told(node, DDATA, script.data(NOW_MS, Power=1.0), "other")
    assert (values(other), other.needs_birth) == ({}, True)
    dead = told(node, DDEATH, script.device_death(NOW_MS), "d")
    assert not dead.needs_birth
    ghost = told(node, DDATA, script.data(NOW_MS, Power=1.0), "d")
    assert (values(ghost), ghost.needs_birth, ghost.gap) == ({}, True, False)


def test_devices_may_use_the_same_alias_for_different_things() -> None:
    script = ScriptedNode(aliases={"Power": 1})
    node = born(ScriptedNode())
    told(node, NBIRTH, script.node_birth(NOW_MS))
    told(node, DBIRTH, script.device_birth(NOW_MS, Power=1.0), "a")
    script.aliases = {"Energy": 1}
    told(node, DBIRTH, script.device_birth(NOW_MS, Energy=1.0), "b")
    assert values(told(node, DDATA, script.data(NOW_MS, Energy=3.0), "b")) == {"Energy": 3.0}
    script.aliases = {"Power": 1}
    assert values(told(node, DDATA, script.data(NOW_MS, Power=4.0), "a")) == {"Power": 4.0}


def test_a_new_birth_of_the_node_ends_what_its_devices_said_before() -> None:
    script = ScriptedNode()
    node = born(script)
    told(node, NBIRTH, script.node_birth(NOW_MS + 1))
    data = told(node, DDATA, script.data(NOW_MS, Power=1.0), "d")
    assert (values(data), data.needs_birth) == ({}, True)


def test_only_the_death_of_the_present_session_counts() -> None:
    script = ScriptedNode(session=7)
    node = born(script)
    old = told(node, NDEATH, ScriptedNode(session=6).death())
    assert (old.is_outdated, node.is_born) == (True, True)
    assert values(told(node, DDATA, script.data(NOW_MS, Power=1.0), "d")) == {"Power": 1.0}
    now = told(node, NDEATH, script.death())
    assert (now.is_outdated, node.is_born) == (False, False)
    data = told(node, DDATA, script.data(NOW_MS, Power=1.0), "d")
    assert (values(data), data.needs_birth) == ({}, True)


def test_a_message_that_comes_twice_in_a_row_is_no_gap_and_says_nothing_new() -> None:
    script = ScriptedNode()
    node = born(script)
    data = script.data(NOW_MS, Power=1.0)
    told(node, DDATA, data, "d")
    again = told(node, DDATA, data, "d")
    assert (again.is_repeat, again.values, again.needs_birth) == (True, [], False)
    assert not told(node, DDATA, script.data(NOW_MS, Power=2.0), "d").gap


def test_why_a_metric_has_no_value_is_told() -> None:
    bad, stale = (b"\x4a\x10\x0a\x07Quality\x12\x05\x08\x03\x18" + code for code in (b"\x80\x04", b"\xf4\x03"))
    metrics = (
        metric(None, name="null"),
        metric(float("nan"), name="nan"),
        metric(5.0, name="stale", more=stale),
        metric(5.0, name="unknown quality", more=bad),
        metric(5.0, name="bad", more=b"\x4a\x0f\x0a\x07Quality\x12\x04\x08\x03\x18\x00"),
        metric(5.0, name="old", historical=True),
    )
    said = {value.metric: value for value in told(EdgeNode(), NBIRTH, payload(*metrics, seq=0)).values}
    assert {name: (value.number, Quality(value.flags)) for name, value in said.items()} == {
        "null": (None, Quality.NOT_AVAILABLE),
        "nan": (None, Quality.NOT_AVAILABLE),
        "stale": (None, Quality.STALE),
        "unknown quality": (5.0, Quality.GOOD),
        "bad": (None, Quality.NOT_AVAILABLE),
        "old": (5.0, Quality.REPLAYED),
    }


# The property. What a broker may do to the messages of a node: those of QoS 0 get lost, come twice or in another order
# within a session; deaths (QoS 1) come in their place, and once more at any time later. A session lasts less than 256
# messages, for after that many lost in a row nobody can tell.

NAMES = ("p", "q", "r", "s")
DEVICES: tuple[str | None, ...] = (None, "a", "b")


@dataclass(frozen=True)
class Sent:
    kind: MessageKind
    device: str | None
    data: bytes


@dataclass
class Chaotic(ScriptedNode):
    """A node whose aliases are drawn anew for each session, and, for a device, at each of its births."""

    tables: dict[str | None, dict[str, int]] = field(default_factory=dict)

    def born_message(self, device: str | None, permutation: list[int]) -> Sent:
        if device is None:
            self.sequence = 0
        table = self.tables[device] = dict(zip(NAMES, permutation, strict=True))
        metrics = [metric(code(device, name), name=name, alias=alias) for name, alias in table.items()]
        if device is None:
            metrics.append(metric(self.session, name="bdSeq", datatype=4))
        return Sent(NBIRTH if device is None else DBIRTH, device, payload(*metrics, seq=self._next()))

    def data_message(self, device: str | None, name: str) -> Sent:
        alias = self.tables[device][name]
        one = metric(code(device, name), alias=alias, say_datatype=False)
        return Sent(NDATA if device is None else DDATA, device, payload(one, seq=self._next()))


def code(device: str | None, name: str) -> float:
    """Every metric always says the same, so that a value under a wrong name shows."""
    return 10.0 * DEVICES.index(device) + NAMES.index(name)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Sent], Chaotic]:
    node = Chaotic()
    heard: list[Sent] = []
    deaths: list[Sent] = []
    shuffled = st.permutations(range(4))
    for session in range(draw(st.integers(1, 4))):
        node.session = session
        sent = [node.born_message(device, draw(shuffled)) for device in DEVICES]
        steps = st.lists(st.tuples(st.sampled_from(DEVICES), st.sampled_from((*NAMES, "birth"))), max_size=25)
        for device, what in draw(steps):
            if what != "birth":
                sent.append(node.data_message(device, what))
            elif device is not None:
                sent.append(node.born_message(device, draw(shuffled)))
        for message in sent:
            heard.extend([message] * draw(st.sampled_from([1, 1, 1, 1, 0, 2])))
            if deaths and draw(st.integers(0, 9)) == 0:
                heard.append(draw(st.sampled_from(deaths)))
            if len(heard) > 1 and draw(st.integers(0, 9)) == 0 and heard[-2].kind is not NDEATH:
                heard[-2:] = reversed(heard[-2:])
        if session < 3:
            death = Sent(NDEATH, None, node.death())
            heard.append(death)
            deaths.append(death)
    return heard, node


@settings(max_examples=120, deadline=None)
@given(streams())
def test_never_a_value_under_a_wrong_name_and_a_birth_puts_everything_right(stream: tuple[list[Sent], Chaotic]) -> None:
    heard, script = stream
    node = EdgeNode()
    for message in heard:
        understood = told(node, message.kind, message.data, message.device)
        for name, value in values(understood).items():
            assert name == "bdSeq" or value == code(message.device, name)
        if understood.unknown:
            assert understood.needs_birth
    for device in DEVICES:
        birth = script.born_message(device, [3, 1, 0, 2])
        assert not told(node, birth.kind, birth.data, device).needs_birth
    for device in DEVICES:
        for name in NAMES:
            data = script.data_message(device, name)
            understood = told(node, data.kind, data.data, device)
            assert values(understood) == {name: code(device, name)}
            assert not understood.needs_birth
