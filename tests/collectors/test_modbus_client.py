"""One Modbus connection against a peer that misbehaves in the ways gateways do."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import pytest

from collectors.modbus.client import ModbusClient
from emsd.errors import DeviceException, Mismatch, NoReply, Unreachable
from emsd.plant.modbus_map import Table
from tests.collectors.support import (
    Answer,
    answer_frame,
    device,
    device_server,
    exception_frame,
    modbus_connection,
    scripted_server,
)


async def read(client: ModbusClient, address: int = 100, count: int = 2, timeout_s: float = 5.0) -> bytes:
    return await client.read(7, Table.HOLDING, address, count, timeout_s=timeout_s)


async def test_registers_come_back_as_the_bytes_on_the_wire_from_either_table() -> None:
    registers = {100: 0x1234, 101: 0xABCD}
    async with device_server(device(7, registers)) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            assert await read(client) == b"\x12\x34\xab\xcd"
            assert await client.read(7, Table.INPUT, 101, 1, timeout_s=5) == b"\xab\xcd"
            assert client.answers == 2
        finally:
            client.close()


async def test_an_exception_names_the_place_and_its_meaning_and_the_connection_goes_on() -> None:
    async with device_server(device(7, {100: 1})) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            with pytest.raises(
                DeviceException,
                match=rf"127.0.0.1:{port} unit 7 holding registers 100..101: .* 2 \(illegal data address",
            ) as caught:
                await read(client)
            assert caught.value.code == 2
            assert await read(client, count=1) == b"\x00\x01"
        finally:
            client.close()


async def test_nobody_listening_is_unreachable() -> None:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port} did not accept"):
        await ModbusClient.open(modbus_connection(port, timeout_s=5))


async def test_a_reply_after_the_timeout_is_never_taken_for_the_next_answer() -> None:
    """The peer answers the first request only once the second one has come, both with transaction id and all."""
    held: list[bytes] = []

    async def late(request: bytes, writer: asyncio.StreamWriter) -> None:
        if not held:
            held.append(answer_frame(request, 0xDEAD, 0xDEAD))
            return
        writer.write(held[0])
        await writer.drain()

    async with scripted_server(late) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            with pytest.raises(NoReply, match=r"no answer within 0\.05 s"):
                await read(client, timeout_s=0.05)
            with pytest.raises(Mismatch, match="transaction 1 of protocol 0, not transaction 2"):
                await read(client)
        finally:
            client.close()


def _with(frame: bytes, at: int, packed: bytes) -> bytes:
    return frame[:at] + packed + frame[at + len(packed) :]


@pytest.mark.parametrize(
    ("at", "wrong", "said"),
    [
        (0, b"\x00\x00", "transaction 0 of protocol 0"),
        (0, b"\x12\x34", "transaction 4660"),
        (2, b"\x00\x01", "of protocol 1"),
        (6, b"\x08", "unit 8 answered instead"),
        (7, b"\x04", "function 4 answers a request of function 3"),
        (8, b"\x06", "byte count 6"),
        (4, b"\x00\x09", "9 bytes long"),
    ],
    ids=["tid 0", "tid", "protocol", "unit", "function", "byte count", "length"],
)
async def test_an_answer_that_does_not_belong_to_the_request_is_a_mismatch_at_once(
    at: int, wrong: bytes, said: str
) -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_with(answer_frame(request, 1, 2), at, wrong))

    await _expect_mismatch(answer, said)


async def test_two_answers_to_one_request_are_a_mismatch() -> None:
    async def twice(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer_frame(request, 1, 2) * 2)

    await _expect_mismatch(twice, "more bytes came")


async def test_garbage_is_a_mismatch() -> None:
    async def garbage(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    await _expect_mismatch(garbage, "protocol")


async def _expect_mismatch(answer: Answer, said: str, **settings: object) -> None:
    async with scripted_server(answer) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5, **settings))
        try:
            # Far less than the timeout: the fault is seen when the frame arrives.
            with pytest.raises(Mismatch, match=said):
                await asyncio.wait_for(read(client, timeout_s=60), 20)
        finally:
            client.close()


async def test_bytes_that_nobody_asked_for_spoil_the_connection() -> None:
    """The second answer is on its way before the second request: nothing may take it for that one's answer."""
    registers = {100: 1, 101: 2}
    doubled = asyncio.Event()

    async def talkative(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer_frame(request, *registers.values()))
        await writer.drain()
        await read_once.wait()
        writer.write(answer_frame(request, 3, 4))
        await writer.drain()
        doubled.set()

    read_once = asyncio.Event()
    async with scripted_server(talkative) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            assert await read(client) == b"\x00\x01\x00\x02"
            read_once.set()
            await doubled.wait()
            with pytest.raises(Mismatch):
                await read(client)
        finally:
            client.close()


async def test_a_connection_closed_in_the_middle_of_a_request_is_known_at_once() -> None:
    async def close(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with scripted_server(close) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            with pytest.raises(Unreachable, match="closed by the other side"):
                await asyncio.wait_for(read(client, timeout_s=60), 20)
            assert client.lost
            assert not client.connected
            with pytest.raises(Unreachable):
                await read(client)
        finally:
            client.close()


async def test_an_answer_in_pieces_is_put_together() -> None:
    async def dribble(request: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in answer_frame(request, 0x0102, 0x0304):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with scripted_server(dribble) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            assert await read(client) == b"\x01\x02\x03\x04"
        finally:
            client.close()


async def test_an_exception_code_outside_the_standard_is_still_an_exception() -> None:
    async def refuse(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(exception_frame(request, 200))

    async with scripted_server(refuse) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            with pytest.raises(DeviceException, match=r"200 \(not in the Modbus standard\)"):
                await read(client)
        finally:
            client.close()


async def test_the_longest_read_fits() -> None:
    async def full(request: bytes, writer: asyncio.StreamWriter) -> None:
        (count,) = struct.unpack(">H", request[10:12])
        writer.write(answer_frame(request, *range(count)))

    async with scripted_server(full) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            assert await read(client, count=125) == struct.pack(">125H", *range(125))
        finally:
            client.close()


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 8, 10, 11])
async def test_exceptions_keep_their_code_and_the_connection_goes_on(code: int) -> None:
    async def refuse_once(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(exception_frame(request, code) if request[:2] == b"\x00\x01" else answer_frame(request, 1, 2))

    async with scripted_server(refuse_once) as port:
        client = await ModbusClient.open(modbus_connection(port, timeout_s=5))
        try:
            with pytest.raises(DeviceException, match=rf"exception {code} \((?!not in the Modbus standard)") as caught:
                await read(client)
            assert caught.value.code == code
            assert await read(client) == b"\x00\x01\x00\x02"
        finally:
            client.close()


async def never_echoes(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x00" + answer_frame(request, 0x0102, 0x0304)[2:])


async def test_a_transaction_id_that_is_never_echoed_is_refused_unless_ids_are_lenient() -> None:
    await _expect_mismatch(never_echoes, "transaction 0 of protocol 0, not transaction 1")
    async with scripted_server(never_echoes) as port:
        client = await ModbusClient.open(modbus_connection(port, transaction_ids="lenient"))
        try:
            for _ in range(3):
                assert await read(client) == b"\x01\x02\x03\x04"
        finally:
            client.close()


@pytest.mark.parametrize(
    ("at", "wrong", "said"),
    [
        (6, b"\x08", "unit 8 answered instead"),
        (7, b"\x04", "function 4 answers a request of function 3"),
        (8, b"\x06", "byte count 6"),
        (4, b"\x00\x09", "9 bytes long"),
    ],
    ids=["unit", "function", "byte count", "length"],
)
async def test_lenient_ids_leave_everything_else_strict(at: int, wrong: bytes, said: str) -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(_with(answer_frame(request, 1, 2), at, wrong))

    await _expect_mismatch(answer, said, transaction_ids="lenient")


async def test_without_transaction_ids_nothing_is_asked_again_over_a_connection_on_which_an_answer_is_late() -> None:
    async def silent(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        """Say nothing."""

    async with scripted_server(silent) as port:
        client = await ModbusClient.open(modbus_connection(port, transaction_ids="lenient"))
        try:
            with pytest.raises(NoReply, match=r"no answer within 0\.05 s"):
                await read(client, timeout_s=0.05)
            with pytest.raises(NoReply, match="without transaction ids it could be taken for another"):
                await read(client, timeout_s=60)
        finally:
            client.close()


async def test_a_large_burst_of_garbage_is_a_mismatch_at_once() -> None:
    async def garbage(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(random.Random(3).randbytes(200_000))

    await _expect_mismatch(garbage, "transaction")


async def test_a_device_with_one_connection_that_another_client_holds_says_what_to_look_for() -> None:
    """Such devices accept a second connection and then say nothing, or close it."""

    async def silent(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        """Say nothing."""

    async with scripted_server(silent) as port:
        client = await ModbusClient.open(modbus_connection(port))
        try:
            with pytest.raises(NoReply, match="no other client holds the device's only connection"):
                await read(client, timeout_s=0.05)
        finally:
            client.close()


async def test_a_reset_in_the_middle_of_an_answer_is_known_at_once() -> None:
    async def reset(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer_frame(request, 1, 2)[:10])
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with scripted_server(reset) as port:
        client = await ModbusClient.open(modbus_connection(port))
        try:
            with pytest.raises(Unreachable, match="closed by the other side"):
                await asyncio.wait_for(read(client, timeout_s=60), 20)
        finally:
            client.close()
