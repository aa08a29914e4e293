"""Messages of any kind through a real broker: each is a reading or a kept poison, and what comes after it is stored."""

from __future__ import annotations

import math
from itertools import count

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from collectors.mqtt import open_collector
from collectors.mqtt.collector import LARGEST_POISON_BYTES
from emsd.collector import MeterState
from emsd.servers import PrivateMosquitto
from tests.collectors.mqtt_support import connection_to, health_of, meter_of
from tests.collectors.support import MemorySink, eventually, running
from tests.collectors.test_mqtt_faults import PAYLOADS, message, publisher, seconds

LARGE = st.integers(-1, 1).map(lambda more: b"{" * (LARGEST_POISON_BYTES + more))
RUNS = count()


# Without shrinking: a message that is never accounted for costs a whole deadline each time it is tried.
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(PAYLOADS | LARGE, st.integers(0, 1)), min_size=1, max_size=20))
async def test_whatever_comes_every_message_is_accounted_for_and_the_next_sound_one_is_stored(
    mosquitto: PrivateMosquitto, messages: list[tuple[bytes, int]]
) -> None:
    run = next(RUNS)
    topic, sink = f"fuzz/{run}", MemorySink()
    connection = connection_to(mosquitto.url, client_id=f"test-fuzz-{run}")
    collector = open_collector(connection, [meter_of("json_energy_meter", topic)], sink)
    sound = range(1000, 1000 + len(messages))
    async with running(collector), publisher(connection) as publish:
        await eventually(collector.connected)
        for (payload, qos), second in zip(messages, sound, strict=True):
            await publish(topic, payload, qos=qos)
            await publish(topic, message(second), qos=1)
        await eventually(lambda: health_of(collector).polls_expected == 2 * len(messages))
        await eventually(lambda: len(sink.poisons) + len(sink.stored) + len(sink.offered) == 2 * len(messages))
        health = health_of(collector)
    readings = sink.stored + sink.offered
    assert len(sink.poisons) == health.polls_failed
    assert len(readings) == health.polls_ok + health.polls_partial
    assert [second for second in seconds(sink.stored) if second in sound] == list(sound)
    assert {poison.payload for poison in sink.poisons} <= {payload[:LARGEST_POISON_BYTES] for payload, _ in messages}
    assert all(poison.reason for poison in sink.poisons)
    for reading in readings:
        assert all(value is None or math.isfinite(value) for value in reading.values)
    assert health.state in {MeterState.OK, MeterState.DEGRADED}
