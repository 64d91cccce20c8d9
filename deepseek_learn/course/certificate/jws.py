"""The one form of a signed token: every byte of it follows from what it says.

A JSON Web Signature leaves much open: the order of fields, fields that occur twice (of
which each reader sees another), fields of the header that nobody looks at. Here they are
sorted and written without spaces, and the header names the key and nothing else.
"""

import base64
import json
from typing import Any

from ...errors import require
from .keys import PublicKey

SIGNATURE = 64  # bytes


def write(payload: dict[str, Any], key: PublicKey, private_pem: bytes) -> str:
    """Return a token, signed with Ed25519."""
    private = _serialization().load_pem_private_key(private_pem, None)
    part = signed_part(payload, key)
    return f"{part}.{encoded(private.sign(part.encode()))}"


def is_canonical(token: str, payload: dict[str, Any], key: PublicKey) -> bool:
    """Return whether a token is what `write` gives, as far as it shows without the key.

    The signature itself is not checked.
    """
    part, _, signature = token.rpartition(".")
    try:
        content = base64.urlsafe_b64decode(signature + "==")
    except ValueError:
        return False
    whole = len(content) == SIGNATURE and encoded(content) == signature
    return whole and part == signed_part(payload, key)


def signed_part(payload: dict[str, Any], key: PublicKey) -> str:
    """Return the header and the payload, as they are signed."""
    serialization = _serialization()
    raw = serialization.load_pem_public_key(key.pem).public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": encoded(raw)}
    header = {"alg": "EdDSA", "jwk": jwk, "typ": "JWT"}
    parts = (
        json.dumps(part, sort_keys=True, separators=(",", ":"))
        for part in (header, payload)
    )
    return ".".join(encoded(part.encode()) for part in parts)


def encoded(content: bytes) -> str:
    """Return bytes in the letters of base64url, without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _serialization() -> Any:
    return require(
        "cryptography.hazmat.primitives.serialization",
        extra="certificate",
        purpose="a certificate",
    )
