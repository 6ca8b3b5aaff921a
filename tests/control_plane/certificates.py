"""Makes the certificates of a test cluster with openssl: an authority, and what it signs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

DAYS = "30"
API_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


def make_certificates(folder: Path, addresses: Iterable[str]) -> None:
    """Make the authority `ca`, the key of accounts, and the certificate `server` for these addresses."""
    run(folder, "genrsa", "-out", "accounts.key", "2048")
    make_key(folder, "ca")
    subject = ("-days", DAYS, "-subj", "/CN=test-cluster")
    run(folder, "req", "-x509", "-new", "-key", "ca.key", *subject, "-out", "ca.crt")
    # One certificate for the API server and Kueue's webhooks; as a client, that of an administrator.
    names = [*(f"DNS:{name}" for name in API_NAMES), *(f"IP:{address}" for address in sorted(addresses))]
    sign(folder, "server", "/O=system:masters/CN=server", names, "serverAuth,clientAuth")


def make_key(folder: Path, name: str) -> None:
    """Make a private key."""
    run(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")


def sign(folder: Path, name: str, subject: str, names: Iterable[str], usage: str) -> None:
    """Make a key and a certificate of the authority."""
    make_key(folder, name)
    run(folder, "req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
    extension = f"subjectAltName={','.join(names)}\nextendedKeyUsage={usage}\n"
    (folder / f"{name}.ext").write_text(extension, encoding="utf-8")
    authority = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", DAYS)
    files = ("-in", f"{name}.csr", "-extfile", f"{name}.ext", "-out", f"{name}.crt")
    run(folder, "x509", "-req", *authority, *files)


def run(folder: Path, *words: str) -> None:
    """Run openssl in a folder. Raises: CalledProcessError."""
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
