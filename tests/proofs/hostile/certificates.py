"""Certificates for names that lead to the host: good ones, and others."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def contexts(folder: Path, names: Iterable[str]) -> ssl.SSLContext:
    """Shows the certificate that goes with the name that is asked for. The authority to trust is
    written to `authority.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = certificate(key, [], "hostile authority", key, is_authority=True)
    write(folder / "authority.pem", authority)
    issuer = authority.subject
    names = set(names)
    good = context(folder, "good", key, certificate(key, names, "host", key, issuer))
    others = {
        "tls-self-signed.example": certificate(key, names, "host", key),
        "tls-expired.example": certificate(key, names, "host", key, issuer, ends=-DAY),
        "tls-of-somebody-else.example": certificate(key, {"else.example"}, "else", key, issuer),
    }
    shown = {name: context(folder, name, key, found) for name, found in others.items()}

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = shown.get(name or "", good)

    good.sni_callback = choose
    return good


def certificate(
    key: ec.EllipticCurvePrivateKey,
    names: Iterable[str],
    subject: str,
    signer: ec.EllipticCurvePrivateKey,
    issuer: x509.Name | None = None,
    *,
    ends: datetime.timedelta = DAY,
    is_authority: bool = False,
) -> x509.Certificate:
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(issuer or own, own, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 3 * DAY)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if found := [x509.DNSName(name) for name in sorted(names)]:
        builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
    return builder.sign(signer, hashes.SHA256())


def context(
    folder: Path, name: str, key: ec.EllipticCurvePrivateKey, shown: x509.Certificate
) -> ssl.SSLContext:
    path = folder / f"{name}.pem"
    write(path, shown)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(path.read_bytes() + private)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(path)
    return made


def write(path: Path, shown: x509.Certificate) -> None:
    path.write_bytes(shown.public_bytes(serialization.Encoding.PEM))
