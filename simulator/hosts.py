"""Which addresses only this machine reaches: where devices and their control listen unless it is allowed otherwise."""

from __future__ import annotations

import ipaddress

from emsd.errors import ConfigurationError

__all__ = ["check_loopback", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is one that only this machine reaches."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def check_loopback(connection: str, host: str) -> None:
    """Refuse an address that other machines could reach: Modbus has no password.

    Raises:
        ConfigurationError: `host` is not on this machine's loopback.
    """
    if not is_loopback(host):
        raise ConfigurationError(
            f"simulated connection {connection} would listen on {host}, which other machines can reach; "
            "use a loopback address, or allow it with --allow-remote"
        )
