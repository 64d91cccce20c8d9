"""A canonical JSON Web Signature (RFC 7515): each payload has exactly one token.

The standard leaves the order of the fields open, and does not exclude duplicate fields,
of which parsers return different ones, or unused header fields. Here the fields are
sorted and written without spaces, and the header contains the public key only.
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
    """Return whether a token has the form that `write` produces for this payload.

    The signature itself is not verified.
    """
    part, _, signature = token.rpartition(".")
    try:
        content = base64.urlsafe_b64decode(signature + "==")
    except ValueError:
        return False
    whole = len(content) == SIGNATURE and encoded(content) == signature
    return whole and part == signed_part(payload, key)


def signed_part(payload: dict[str, Any], key: PublicKey) -> str:
    """Return the signing input: the encoded header and payload."""
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
    """Return bytes in base64url without padding (RFC 7515, appendix C)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _serialization() -> Any:
    return require(
        "cryptography.hazmat.primitives.serialization",
        extra="certificate",
        purpose="a certificate",
    )
