"""A publisher that costs next to nothing: messages of ten values at QoS 1, written to the broker's socket in bulk.

`python -m bench.mqtt_publisher PORT PREFIX METERS MESSAGES RATE` publishes MESSAGES messages in all, RATE a second (0:
as fast as the broker takes them), to PREFIX/0 .. PREFIX/METERS-1 in turn, and ends when all are acknowledged. Each says
when it was made. The packets are written by hand in MQTT 3.1.1, whose publishers have no receive maximum.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from typing import Final

__all__ = ["main"]

_STEP_S: Final = 0.01
_MOST_A_STEP: Final = 500
_UNACKNOWLEDGED: Final = 20_000


def main() -> None:
    """Publish, as the arguments say."""
    port, meters, messages, rate = (int(sys.argv[place]) for place in (1, 3, 4, 5))
    prefix = sys.argv[2].encode()
    with socket.create_connection(("127.0.0.1", port)) as broker:
        broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = b"bench-publisher"
        hello = struct.pack("!H4sBBHH", 4, b"MQTT", 4, 2, 600, len(name)) + name
        broker.sendall(bytes([0x10, len(hello)]) + hello)
        if broker.recv(4, socket.MSG_WAITALL)[3] != 0:
            raise SystemExit("the broker refuses the publisher")
        acknowledged = [0]
        reading = threading.Thread(target=_count, args=(broker, messages, acknowledged), name="acknowledgements")
        reading.start()
        _publish(broker, prefix, meters, messages, rate, acknowledged)
        reading.join()


def _publish(
    broker: socket.socket, prefix: bytes, meters: int, messages: int, rate: int, acknowledged: list[int]
) -> None:
    sent, began = 0, time.perf_counter()
    while sent < messages:
        due = messages if not rate else int((time.perf_counter() - began) * rate) + 1
        step = min(due - sent, _MOST_A_STEP, messages - sent, _UNACKNOWLEDGED - sent + acknowledged[0])
        if step <= 0:
            time.sleep(_STEP_S / 4)
            continue
        broker.sendall(b"".join(_packet(number, prefix, meters) for number in range(sent, sent + step)))
        sent += step


def _packet(number: int, prefix: bytes, meters: int) -> bytes:
    topic = b"%b/%d" % (prefix, number % meters)
    payload = (
        b'{"ts":%d,"power":{"total_w":%d.5,"l1_w":400.1,"l2_w":410.2,"l3_w":424.2},"energy":{"import_wh":%d},'
        b'"voltage_v":{"l1":230.1,"l2":229.8,"l3":230.4},"factor":0.986,"frequency_hz":50.01}'
    ) % (time.time_ns() // 1000, number % 1000, number)
    length = len(topic) + len(payload) + 4
    return b"\x32%c%c%b%b%b%b" % (
        length & 0x7F | 0x80, length >> 7,
        struct.pack("!H", len(topic)), topic, struct.pack("!H", number % 65_535 + 1), payload,
    )  # fmt: skip


def _count(broker: socket.socket, messages: int, acknowledged: list[int]) -> None:
    """Count PUBACK packets, which have four bytes each."""
    read = 0
    while read < 4 * messages:
        data = broker.recv(65_536)
        if not data:
            raise ConnectionError("the broker closed the connection")
        read += len(data)
        acknowledged[0] = read // 4


if __name__ == "__main__":
    main()
