"""Signatures of promoted bundles: Ed25519 (RFC 8032) over the bundle's seal and what it rests on.

The seal of a bundle finds damage; a signature says that someone with the site's private key let the
bundle into use. The private key belongs to whoever promotes, the public one to the service.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from models.errors import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


class SignatureError(BundleError):
    """A bundle that should be signed and is not, or not by the key that is trusted."""

    code: ClassVar[str] = "bundle_signature"


def make_keys(private: Path, public: Path) -> None:
    """Write a new key pair as PEM; the private file is readable by its owner only.

    Raises:
        SignatureError: One of the files is there already.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey as PrivateKey,
    )

    key = PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    known = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
        with public.open("xb") as file:
            file.write(known)
    except FileExistsError as error:
        raise SignatureError("a key is there already; it is not overwritten") from error


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read an unencrypted Ed25519 private key in PEM.

    Raises:
        SignatureError: There is none, or it is of another kind.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey as PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SignatureError("the private key cannot be read") from error
    if not isinstance(key, PrivateKey):
        raise SignatureError("the private key is not an Ed25519 key")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read an Ed25519 public key in PEM.

    Raises:
        SignatureError: There is none, or it is of another kind.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey as PublicKey,
    )
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SignatureError("the public key cannot be read") from error
    if not isinstance(key, PublicKey):
        raise SignatureError("the public key is not an Ed25519 key")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the raw public key, in hex."""
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
    )

    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def signed(statement: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """A statement with its signature and the fingerprint of the key."""
    return {
        "statement": dict(statement),
        "key_sha256": fingerprint(key.public_key()),
        "signature": base64.b64encode(key.sign(_canonical(statement))).decode(),
    }


def verified(document: Mapping[str, Any], key: Ed25519PublicKey) -> dict[str, Any]:
    """The statement of a signed document.

    Raises:
        SignatureError: It is not signed by this key, or was changed since.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        statement: dict[str, Any] = document["statement"]
        signature = base64.b64decode(document["signature"], validate=True)
        key.verify(signature, _canonical(statement))
    except (KeyError, TypeError, ValueError, InvalidSignature) as error:
        raise SignatureError("the signature does not match the statement and the key") from error
    return statement


def _canonical(statement: Mapping[str, Any]) -> bytes:
    """The same bytes for the same content, whatever the order of keys."""
    return json.dumps(
        statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
