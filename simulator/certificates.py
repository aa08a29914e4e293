"""Certificates of simulated devices: given ones, or self-made ones of an authority for trials.

A folder holds them all. What stands there is used as it is, what is missing is made, and made anew when it has expired:

    ca.pem, ca.key                    the authority that signs what is made
    <connection>.pem, <connection>.key  certificate and key of that connection's device
    client.pem, client.key            a certificate for a client, where a device asks for one
    clients.pem                       only given: the authority of the clients that a device lets in, else ca.pem
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from emsd.errors import ServerError

__all__ = ["CertificateFolder"]

_AUTHORITY: Final = "emsd simulator, for trials only"
_DAYS_VALID: Final = 825
"""Clients of some makers refuse a longer life."""


@dataclass(frozen=True, slots=True)
class CertificateFolder:
    """Where the certificates of a simulator stand; reading and making them blocks for milliseconds."""

    folder: Path

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / name

    def was_given(self, connection: str) -> bool:
        """Whether the device of a connection has a certificate that our authority did not sign."""
        certificate = self.file(f"{connection}.pem")
        if not certificate.exists():
            return False
        if not (self.file("ca.key").exists() and self.file("ca.pem").exists()):
            return True
        issuer = x509.load_pem_x509_certificate(self.file("ca.pem").read_bytes())
        return x509.load_pem_x509_certificate(certificate.read_bytes()).issuer != issuer.subject

    def server_context(self, connection: str, names: Sequence[str], *, asks_for_client: bool) -> ssl.SSLContext:
        """Return the TLS context of a device, its certificate made if none is given.

        names            host names and addresses that a made certificate is valid for
        asks_for_client  whether who connects must have a certificate

        Raises:
            ServerError: a given file cannot be used, or none can be made there.
        """
        certificate, key = self.file(f"{connection}.pem"), self.file(f"{connection}.key")
        try:
            if not self._lasts(connection):
                self._issue(connection, names, ExtendedKeyUsageOID.SERVER_AUTH)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2  # MODBUS/TCP Security V36, section 8.2
            # With a password of its own OpenSSL asks nobody at the terminal for that of an encrypted key.
            context.load_cert_chain(certificate, key if key.exists() else None, password="")
            if asks_for_client:
                clients = self.file("clients.pem")
                if not clients.exists():
                    clients = self.file("ca.pem")
                    self.client()
                context.load_verify_locations(clients)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, TypeError, ValueError) as error:  # TypeError: an encrypted key of the authority
            raise ServerError(
                f"simulated connection {connection}: the certificates in {self.folder} cannot be used ({error}); "
                f"put {connection}.pem and {connection}.key there as PEM, or let the simulator make them in a folder "
                "that it may write"
            ) from error
        return context

    def client(self) -> tuple[Path, Path]:
        """Return certificate and key for a client that our authority vouches for; made if they are missing."""
        if not self._lasts("client"):
            self._issue("client", ("emsd",), ExtendedKeyUsageOID.CLIENT_AUTH)
        return self.file("client.pem"), self.file("client.key")

    def _lasts(self, name: str) -> bool:
        """Whether a certificate stands there that is used as it is: any, but one of our making that has expired."""
        path = self.file(f"{name}.pem")
        if not path.exists():
            return False
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        return certificate.issuer != _name(_AUTHORITY) or certificate.not_valid_after_utc > datetime.now(UTC)

    def _issue(self, name: str, names: Sequence[str], use: x509.ObjectIdentifier) -> None:
        authority, authority_key = self._authority()
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_general_name(each) for each in dict.fromkeys(names)])
        certificate = (
            _builder(name, authority.subject, key.public_key())
            .add_extension(alternatives, critical=False)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .sign(authority_key, hashes.SHA256())
        )
        self._write(name, certificate, key)

    def _authority(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        certificate, key = self.file("ca.pem"), self.file("ca.key")
        if self._lasts("ca"):
            loaded = serialization.load_pem_private_key(key.read_bytes(), None)
            if not isinstance(loaded, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key} is no key on an elliptic curve")
            return x509.load_pem_x509_certificate(certificate.read_bytes()), loaded
        made_key = ec.generate_private_key(ec.SECP256R1())
        public = made_key.public_key()
        made = (
            _builder(_AUTHORITY, _name(_AUTHORITY), public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(_ca_usage(), critical=True)
            .sign(made_key, hashes.SHA256())
        )
        self._write("ca", made, made_key)
        return made, made_key

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        secret = self.file(f"{name}.key")
        secret.touch(mode=0o600)
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.file(f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _builder(name: str, issuer: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=_name(name),
        public_key=public,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),  # for clients whose clock is behind
        not_valid_after=now + timedelta(days=_DAYS_VALID),
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
