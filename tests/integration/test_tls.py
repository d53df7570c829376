"""The service behind TLS, and with clients that must show a certificate, as a program."""

from __future__ import annotations

import datetime
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.jobs.installation import free_port

START_S = 240.0


class Authority:
    """A certificate authority of our own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(name, self._key, self._key.public_key(), ca=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for this machine's loopback, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, self._key, key.public_key(), ca=False)
        files = (self._folder / f"{name}-cert.pem", self._folder / f"{name}-key.pem")
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _sign(
        self,
        name: str,
        signer: ec.EllipticCurvePrivateKey,
        public: ec.EllipticCurvePublicKey,
        *,
        ca: bool,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        return builder.sign(signer, hashes.SHA256())


@contextmanager
def served(work_dir: Path, **settings: str) -> Iterator[str]:
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACUITY_")}
    own = {"ACUITY_WORK_DIR": str(work_dir), "ACUITY_PORT": str(port), **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve"],
        env=kept | own,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url == f"https://127.0.0.1:{port}"
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def context(authority: Authority, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.file))
    if client is not None:
        made.load_cert_chain(*client)
    return made


def health(url: str, verify: ssl.SSLContext) -> int:
    """Status of /healthz, once the service listens.

    Raises:
        httpx2.TransportError: It listens, and will not talk to us.
    """
    deadline = time.monotonic() + START_S
    while True:
        try:
            with httpx2.Client(verify=verify, timeout=30) as client:
                return client.get(f"{url}/healthz").status_code
        except httpx2.ConnectTimeout:
            assert time.monotonic() < deadline


def test_tls_and_certificates_of_clients(tmp_path: Path) -> None:
    ours, strangers = Authority(tmp_path, "ours"), Authority(tmp_path, "strangers")
    certificate, key = ours.issue("server")
    with served(
        tmp_path / "work",
        ACUITY_TLS__CERTIFICATE=str(certificate),
        ACUITY_TLS__KEY=str(key),
        ACUITY_TLS__CLIENT_CA=str(ours.file),
    ) as url:
        assert health(url, context(ours, ours.issue("router"))) == 200
        with pytest.raises(httpx2.TransportError):
            health(url, context(ours))
        with pytest.raises(httpx2.TransportError):
            health(url, context(ours, strangers.issue("stranger")))
        with pytest.raises(httpx2.TransportError):
            health(url, context(strangers, ours.issue("router")))
        with pytest.raises(httpx2.TransportError):
            httpx2.get(url.replace("https", "http") + "/healthz", timeout=30)
