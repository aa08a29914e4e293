"""The TLS context of a connection to a broker."""

from __future__ import annotations

import ssl

from emsd.errors import Unreachable
from emsd.plant.mqtt_connection import MqttTls

__all__ = ["encryption_of"]


def encryption_of(tls: MqttTls, where: str) -> ssl.SSLContext:
    """Return the TLS context of the connection to `where`; reads files, so it may block.

    Raises:
        Unreachable: a file is missing or is no certificate or key.
    """
    password = tls.key_password.get_secret_value() if tls.key_password else ""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file is not None:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: password)
    except (OSError, ValueError) as error:
        files = ", ".join(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name)
        raise Unreachable(f"{where}: {files} cannot be used: {error}; name PEM files that emsd may read") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
