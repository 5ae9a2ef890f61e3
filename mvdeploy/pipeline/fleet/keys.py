"""Certificates for machines that trust each other, and whether an address may be used without."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from mvdeploy.errors import UsageError
from mvdeploy.files import writing

AUTHORITY, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"
PORT = 8786
_YEARS = 10


def make(folder: Path) -> None:
    """Make the keys of a cluster: who has a copy of the folder is let in, and nobody else.

    The key of the authority is not kept: no other certificates of it can be made.

    Raises:
        UsageError: the folder is not empty.
        NotWritten: it cannot be written to.
        MissingPackage: what makes certificates is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError as error:
        raise missing(error) from error

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already.",
            "Give a folder that is not there: machines with the keys in it would be shut out.",
        )

    def name(title: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])

    now = datetime.datetime.now(datetime.UTC)
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(title: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(name(title))
            .issuer_name(name("mvdeploy cluster authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # Clocks of machines differ.
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
                critical=False,
            )
            .sign(authority, hashes.SHA256())
        )

    pem = serialization.Encoding.PEM
    made = {
        AUTHORITY: certificate("mvdeploy cluster authority", authority, ca=True).public_bytes(pem),
        CERTIFICATE: certificate("mvdeploy cluster", own, ca=False).public_bytes(pem),
        KEY: own.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    with writing.worded(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, content in made.items():
            handle = os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as opened:
                opened.write(content)


class MissingPackage(UsageError):
    """A package of the extra `cluster` is not installed."""


def missing(error: ImportError) -> MissingPackage:
    """Return the error for a package of the extra that is not installed."""
    return MissingPackage(
        f"The package {error.name or 'distributed'} is not installed, which clusters need.",
        "Install it in the folder of mvdeploy with: pip install '.[cluster]'",
    )


def read(folder: Path) -> dict[str, Path]:
    """Return the files of the keys in a folder, by their names.

    Raises:
        UsageError: they are not all there.
    """
    found = {name: folder / name for name in (AUTHORITY, CERTIFICATE, KEY)}
    if absent := [name for name, path in found.items() if not path.is_file()]:
        raise UsageError(
            f"{folder} has no {' and no '.join(absent)}.",
            "Give the folder that 'mvdeploy cluster keys DIR' made, or a copy of it.",
        )
    return found


def address(text: str, *, keyed: bool, insecure: bool) -> tuple[str, str, int]:
    """Read the address of a cluster; return its protocol, host and port.

    Args:
        text: ``HOST[:PORT]``, with or without ``tls://`` or ``tcp://``.
        keyed: whether there are keys.
        insecure: whether it may be done without, though others could listen and send what they
            like.

    Raises:
        UsageError: it is none, or would be open to others.
    """
    said, _, rest = text.rpartition("://")
    host, colon, port = rest.rpartition(":")
    if not colon:
        host, port = rest, str(PORT)
    host = host.strip("[]")
    numbered = port.isdecimal() and int(port) < 65536
    if said not in ("", "tls", "tcp") or not host or not numbered:
        raise UsageError(f"'{text}' is no address.", f"Give it as in 192.168.1.10:{PORT}.")
    if said == "tls" and not keyed:
        raise UsageError(f"{text} needs keys.", "Give the folder with them: --keys DIR.")
    if said == "tcp" and keyed:
        raise UsageError(
            f"{text} is without encryption, and keys are given.", f"Give tls://{rest}."
        )
    if not keyed and not insecure and not _is_loopback(host):
        raise UsageError(
            f"Without keys, anybody who reaches {host} could have programs run there.",
            "Make keys with 'mvdeploy cluster keys DIR' and give --keys DIR, or --insecure in a "
            "network that nobody else is in.",
        )
    return ("tls" if keyed else "tcp"), host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
