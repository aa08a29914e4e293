"""What becomes of the meters of an endpoint when the way to it fails, and what the endpoint says of itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest

from collectors.modbus import open_collector
from collectors.modbus.usage import Usage
from emsd.collector import MeterState, ReportsEndpoint
from emsd.errors import NoReply
from emsd.metrics import ServiceMetrics
from emsd.plant.modbus_connections import ModbusRtuOverTcpConnection
from tests.collectors.support import (
    MemorySink,
    answer_frame,
    bound,
    device,
    device_server,
    eventually,
    modbus_connection,
    profile_of,
    running,
)
from tests.collectors.test_serial_line import frame

POWER_AT_10 = [{"quantity": "active_power_kw", "address": 10, "type": "u16"}]


async def test_a_half_open_connection_is_opened_again_after_one_timeout() -> None:
    """The first peer goes away without a word after three answers; whoever connects then is answered again."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        mine, answers = connections, 0
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while request := await reader.readexactly(12):
                answers += 1
                if mine > 1 or answers <= 3:
                    writer.write(answer_frame(request, 40 + mine))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sink = MemorySink()
    try:
        connection = modbus_connection(server.sockets[0].getsockname()[1], timeout_s=0.2)
        meter = bound(1, profile_of(POWER_AT_10), unit=1, poll_interval_s=0.1)
        collector = open_collector(connection, [meter], sink)
        assert isinstance(collector, ReportsEndpoint)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 6)
            endpoint = collector.endpoint_health()
        (health,) = collector.health()
    finally:
        server.close()
    assert [reading.value("active_power_kw") for reading in sink.offered[:6]] == [41.0] * 3 + [42.0] * 3
    assert health.errors == {"no_reply": 1}
    assert health.polls_failed == 0
    assert (endpoint.connects, endpoint.failures) == (2, 1)


async def test_a_half_open_connection_to_a_line_is_opened_again_after_the_second_timeout() -> None:
    """One silent unit is no reason to leave a line on which others answer; two timeouts in a row are."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        mine = connections
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while request := await reader.readexactly(8):
                if mine > 1:
                    writer.write(frame(request[0], 3, 2, 0, 42))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sink = MemorySink()
    try:
        port = server.sockets[0].getsockname()[1]
        connection = ModbusRtuOverTcpConnection(key="c", host="127.0.0.1", port=port, timeout_s=0.05)
        meters = [bound(unit, profile_of(POWER_AT_10), unit=unit, poll_interval_s=0.1) for unit in (1, 2)]
        collector = open_collector(connection, meters, sink)
        assert isinstance(collector, ReportsEndpoint)
        async with running(collector):
            await eventually(lambda: bool(sink.of(1) and sink.of(2)))
            assert collector.endpoint_health().connects == 2
    finally:
        server.close()


async def test_a_device_with_one_connection_is_reached_once_the_other_client_leaves() -> None:
    """It closes every further connection at once."""
    busy = asyncio.Lock()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not busy.locked():
            async with busy:
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    while request := await reader.readexactly(12):
                        writer.write(answer_frame(request, 42))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sink = MemorySink()
    try:
        _, other = await asyncio.open_connection("127.0.0.1", port)
        await eventually(busy.locked)
        meter = bound(1, profile_of(POWER_AT_10), unit=1, poll_interval_s=0.1)
        collector = open_collector(modbus_connection(port), [meter], sink)
        assert isinstance(collector, ReportsEndpoint)
        async with running(collector):
            await eventually(lambda: collector.health()[0].state is MeterState.DOWN)
            refused = collector.endpoint_health()
            assert refused.failures >= 1
            assert refused.last_error is not None
            assert f"127.0.0.1:{port} closed the connection before it answered" in refused.last_error
            assert "no other client holds its only connection" in refused.last_error
            other.close()
            await eventually(lambda: len(sink.offered) >= 3)
            assert collector.endpoint_health().connected
    finally:
        server.close()


async def test_an_endpoint_that_cannot_be_reached_is_exported_as_down_and_its_return_as_up() -> None:
    sink = MemorySink()
    async with device_server(device(1, {10: 1})) as port:
        pass
    connection = modbus_connection(port)
    collector = open_collector(connection, [bound(1, profile_of(POWER_AT_10), unit=1, poll_interval_s=0.1)], sink)
    assert isinstance(collector, ReportsEndpoint)
    registry = CollectorRegistry()
    registry.register(ServiceMetrics(meter_keys=lambda: {1: "m1"}, collectors=lambda: (collector,)))
    labels = f'{{address="127.0.0.1:{port}",connection="c",kind="modbus_tcp"}}'
    async with running(collector):
        await eventually(lambda: collector.endpoint_health().failures >= 1)
        text = generate_latest(registry).decode()
        assert f"emsd_endpoint_up{labels} 0.0" in text
        assert f"emsd_endpoint_connects_total{labels} 0.0" in text
        assert f"emsd_endpoint_requests_total{labels} 0.0" in text
        async with device_server(device(1, {10: 1}), port=port):
            await eventually(lambda: len(sink.offered) >= 2)
            text = generate_latest(registry).decode()
    assert f"emsd_endpoint_up{labels} 1.0" in text
    assert f"emsd_endpoint_connects_total{labels} 1.0" in text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("emsd_endpoint"))
    assert float(values[f"emsd_endpoint_failures_total{labels}"]) >= 1
    assert float(values[f"emsd_endpoint_requests_total{labels}"]) >= 2
    assert float(values[f"emsd_endpoint_busy_seconds_total{labels}"]) > 0


def test_the_busy_share_is_that_of_the_last_period_and_counts_who_is_being_served() -> None:
    clock = 100.0
    usage = Usage(now_s=lambda: clock)
    assert usage.busy_share() == 0.0
    usage.begin()
    clock += 4.0
    assert usage.busy_s() == 4.0
    assert usage.busy_share() == 1.0
    usage.end()
    clock += 12.0
    assert usage.busy_share() == 0.25
    clock += 1.0
    # A second caller, shortly after, is told the same.
    assert usage.busy_share() == 0.25
    clock += 10.0
    assert usage.busy_share() == 0.0
    assert usage.busy_s() == 4.0
    usage.failed(NoReply("nobody"))
    assert (usage.failures, usage.last_error) == (1, "nobody")
