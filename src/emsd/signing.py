"""Signatures of carbon statements: Ed25519 (RFC 8032), with a key that lies in a file of its own.

The private key is neither in the database nor in the repository, so who can write to the database still cannot sign.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from emsd.errors import SettingsError

__all__ = ["SigningKey", "create_key", "fingerprint_of", "is_signed", "load_key", "public_key_pem"]

_OTHERS: Final = 0o077
"""Rights of everybody but the owner."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key; `public_key` is its public half, 32 bytes in base64."""

    private: Ed25519PrivateKey

    @property
    def public_key(self) -> str:
        """What verifies its signatures."""
        return base64.b64encode(self.private.public_key().public_bytes_raw()).decode()

    def sign(self, document: bytes) -> bytes:
        """Return the signature of a document, 64 bytes."""
        return self.private.sign(document)


def create_key(path: Path) -> SigningKey:
    """Make a key and write it to a new file that only its owner may read (PKCS #8 in PEM, mode 600).

    Raises:
        SettingsError: the file exists, or cannot be written.
    """
    key = SigningKey(Ed25519PrivateKey.generate())
    text = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
    except FileExistsError:
        raise SettingsError(f"{path} exists already; statements are signed with it, so keep it") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be written ({error.strerror}); choose another file") from None
    return key


def load_key(path: Path) -> SigningKey:
    """Read a key.

    Raises:
        SettingsError: there is none, others may read it, or it is no Ed25519 key.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()
    except OSError as error:
        cure = "make one with `emsd carbon key create`, or name its file in EMSD_STATEMENT_KEY_FILE"
        raise SettingsError(f"there is no signing key in {path} ({error.strerror}); {cure}") from None
    if mode & _OTHERS:
        raise SettingsError(f"{path} may be read by others; run chmod 600 {path}")
    try:
        private = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{path} holds no private key in PEM; name the file of the signing key") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"{path} holds a key that is not Ed25519; make one with `emsd carbon key create`")
    return SigningKey(private)


def fingerprint_of(public_key: str) -> str:
    """Return the short name of a public key for people: SHA-256 of its 32 bytes, in hexadecimal."""
    return f"SHA256:{hashlib.sha256(base64.b64decode(public_key)).hexdigest()}"


def public_key_pem(public_key: str) -> bytes:
    """Return a public key as openssl and others read it (SubjectPublicKeyInfo in PEM, RFC 8410)."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key)).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def is_signed(document: bytes, signature: bytes, public_key: str) -> bool:
    """Say whether the signature is that of the document by this public key."""
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key)).verify(signature, document)
    except (InvalidSignature, ValueError):
        return False
    return True
