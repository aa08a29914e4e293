"""The first words of MQTT, to learn whether a broker accepts clients (OASIS MQTT 3.1.1, sections 3.1, 3.2 and 3.14)."""

from __future__ import annotations

import socket

from emsd.servers.process import LOOPBACK

__all__ = ["accepts_clients"]

ACCEPTED = b"\x20\x02\x00\x00"
DISCONNECT = b"\xe0\x00"
CLEAN_SESSION, LOGIN = 0x02, 0xC0
KEEP_ALIVE_S = 10


def accepts_clients(port: int, username: str | None, password: str | None, timeout_s: float = 2.0) -> bool:
    """Whether the broker on 127.0.0.1:`port` answers a CONNECT with this login by "accepted"."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_s) as connection:
            connection.sendall(_connect_packet(username, password))
            answer = connection.recv(len(ACCEPTED))
            connection.sendall(DISCONNECT)
    except OSError:
        return False
    return answer == ACCEPTED


def _connect_packet(username: str | None, password: str | None) -> bytes:
    flags = CLEAN_SESSION
    payload = _text("emsd-is-it-there")
    if username is not None and password is not None:
        flags |= LOGIN
        payload += _text(username) + _text(password)
    body = _text("MQTT") + bytes([4, flags]) + KEEP_ALIVE_S.to_bytes(2, "big") + payload
    length = b""
    remaining = len(body)
    while True:
        remaining, digit = divmod(remaining, 128)
        length += bytes([digit | (0x80 if remaining else 0)])
        if not remaining:
            return b"\x10" + length + body


def _text(value: str) -> bytes:
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded
