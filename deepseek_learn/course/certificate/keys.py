"""The Ed25519 keys of learners and teachers.

A private key is a file of its owner, outside of every portfolio. It is never in memory
while a learner's code runs: `make` reads it after the last run, and `sign` runs nothing.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import require
from ...files import atomic_write
from ..record import home
from .refusal import Refused


@dataclass(frozen=True)
class PublicKey:
    """A public key.

    Attributes:
        did: the key as a decentralized identifier (`did:key:...`).
        pem: the same key in PEM format.
    """

    did: str
    pem: bytes


def learners_key() -> Path:
    """Return the path of this learner's private key."""
    return home() / "certificate_key.pem"


def create(path: Path) -> PublicKey:
    """Write a new private key, readable by its owner only, and its public key.

    The public key stands beside it, in a file that ends with `.pub`.

    Raises:
        FileExistsError: if there is a file: no key is ever overwritten.
    """
    keys = _library("openbadgeslib.keys")
    private, public = keys.KeyFactory(keys.KeyType.ED25519).generate_keypair()
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    # the private key last: where it is, the public key is, too
    for file, content, mode in (
        (Path(f"{path}.pub"), public, 0o666),
        (path, private, 0o600),
    ):
        with atomic_write(file, mode) as temporary:
            temporary.write_bytes(content)
    return read_public(Path(f"{path}.pub"))


def read_public(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        Refused: if the file does not hold an Ed25519 public key.
    """
    return public_key(path.read_bytes(), path)


def own_public(path: Path) -> PublicKey:
    """Return the public key that belongs to a private one.

    Raises:
        Refused: if the file does not hold an Ed25519 private key, such as an empty or
            damaged one.
    """
    serialization = _library("cryptography.hazmat.primitives.serialization")
    content = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(content, None).public_key()
    except Exception as error:  # of a file with any content
        raise Refused("damaged_key", file=path, size=len(content)) from error
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public_key(key.public_bytes(serialization.Encoding.PEM, form), path)


def public_key(pem: bytes, path: Path) -> PublicKey:
    """Parse a public key in PEM format; `path` is for the error message."""
    try:
        keys = _library("openbadgeslib.keys")
        if keys.detect_key_type(pem) is keys.KeyType.ED25519 and b"PRIVATE" not in pem:
            return PublicKey(
                _library("openbadgeslib.ob3.did").did_key_from_pem(pem), pem
            )
    except _library("openbadgeslib.errors").LibOpenBadgesException:
        pass
    raise Refused("not_a_key", file=path)


def resolve(did: str) -> PublicKey:
    """Return the public key that a `did:key` encodes.

    Raises:
        Refused: if it does not encode an Ed25519 key.
    """
    if not did.startswith("did:key:"):  # others would need the network
        raise Refused("not_a_key", file=did)
    try:
        pem = _library("openbadgeslib.ob3.did").resolve_did(did)
    except Exception as error:
        raise Refused("not_a_key", file=did) from error
    return public_key(pem, Path(did))


def check_private(path: Path, portfolio: Path) -> None:
    """Refuse a private key that the portfolio's code or another user could read.

    Raises:
        Refused: if it is in the portfolio, or users other than its owner may read it.
        FileNotFoundError: if it does not exist.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no key in {path}.")
    if portfolio.resolve() in path.resolve().parents:
        raise Refused("key_inside", file=path)
    if path.stat().st_mode & 0o077:
        raise Refused("key_open", file=path)


def _library(module: str) -> Any:
    return require(module, extra="certificate", purpose="a certificate")
