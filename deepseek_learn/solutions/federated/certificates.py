"""Make a certificate authority and a server's certificate for TLS.

    deepseek-learn federated certificates FOLDER HOST [HOST ...]

The folder then contains `ca.pem`, which every hospital needs to recognize the server, and
`server.pem` and `server.key`, which only the server may have. The authority's own key is
not kept, so nobody can make another certificate that the hospitals would believe. The
certificates end after a year.
"""

import ipaddress
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ...files import atomic_write

DAYS = 365
OWN = "127.0.0.1"
FILES = ("server.key", "server.pem", "ca.pem")
HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")


def write_certificates(folder: str | Path, hosts: Sequence[str]) -> None:
    """Write a new authority's certificate, and a server's with its key.

    Args:
        hosts: the server's names and addresses, as the hospitals use them. 127.0.0.1 is
            added, under which Flower's server reaches itself.

    Raises:
        ValueError: if there is no host, or one is no name and no address.
        FileExistsError: if the folder contains certificates: hospitals that have the old
            authority's would not recognize the server any more.
    """
    folder = Path(folder)
    if isinstance(hosts, str) or not hosts:
        raise ValueError(f"hosts must be a list of at least one name; got {hosts!r}.")
    names = [_host(each) for each in dict.fromkeys((*hosts, OWN))]
    for each in FILES:
        if (folder / each).exists():
            raise FileExistsError(
                f"{folder} contains {each}; choose another folder, since hospitals that "
                "know the old certificates would not recognize the server any more."
            )
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "federation")])
    authority = (
        _certificate(name, name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    server = (
        _certificate(own, name, key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificates = (server.public_bytes(pem), authority.public_bytes(pem))
    for file, content in zip(FILES[1:], certificates, strict=True):
        with atomic_write(folder / file) as temporary:
            temporary.write_bytes(content)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # nobody else may ever read the key
    with open(os.open(folder / FILES[0], flags, 0o600), "wb") as private:
        private.write(secret)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
    )


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if not HOST.fullmatch(name):
            raise ValueError(
                f"hosts must be names or addresses of machines; got {name!r}."
            ) from None
        return x509.DNSName(name)
