"""A signature over a manifest: a DSSE envelope, by a key in a file.

Source: the DSSE specification (github.com/secure-systems-lab/dsse); keys and signatures are those of securesystemslib.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PUBLIC = ".pub"


def new_key(file: Path) -> Path:
    """Make an Ed25519 pair: the private key in `file` (PEM, for its owner alone), the public one in `file`.pub.

    Raises: UsageError where one of them exists, MissingResource where they cannot be written.
    """
    public = file.with_name(file.name + PUBLIC)
    for path in (file, public):
        if path.exists():
            raise UsageError(f"make the key {file}", f"{path} exists", "use it by --key, or name another file")
    signer = CryptoSigner.generate_ed25519()
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as private:
            private.write(signer.private_bytes)
    except OSError as error:
        raise MissingResource(f"make the key {file}", f"{error.strerror}", "name a folder to write in") from error
    records.write_bytes(public, signer.public_key._crypto_key().public_bytes(*pem))
    return public


def sign(manifest: bytes, key: Path) -> bytes:
    """The envelope of a manifest as JSON, signed by a private key. Raises: UsageError for what is no such key."""
    asked, data = f"sign with {key}", _read(key)
    try:
        signer = CryptoSigner(serialization.load_pem_private_key(data, None))  # type: ignore[arg-type]
    except TypeError as error:
        found, todo = "it is locked by a password", "give a key without one, e.g. by openssl pkey -in KEY -out PLAIN"
        raise UsageError(asked, found, todo) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        found = "it is a public key" if b"PUBLIC KEY" in data else f"it is no private key in PEM ({_first(error)})"
        raise UsageError(asked, found, "make one by `edgesmith pack RUN --out FILE --new-key KEY`") from error
    envelope = Envelope(manifest, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return (json.dumps(envelope.to_dict(), indent=1) + "\n").encode()


def signed_payload(envelope: bytes) -> bytes:
    """What an envelope says that it signs, unchecked. Raises: DamagedArtifact for what is no envelope."""
    return _envelope(envelope).payload


def verify(envelope: bytes, key: Path) -> str:
    """The id of the public key in `key`, if it made the signature.

    Raises: UsageError for what is no public key, DamagedArtifact where the signature is not its own.
    """
    public = _public(key)
    asked = f"check the signature by {key}"
    sealed = _envelope(envelope)
    if sealed.payload_type != PAYLOAD_TYPE:
        raise DamagedArtifact(asked, f"it signs {sealed.payload_type!r}", "ask for the bundle again")
    try:
        # An id is a hint (DSSE): the key that was given is tried on every signature.
        for signature in sealed.signatures.values():
            try:
                public.verify_signature(signature, sealed.pae())
                return public.keyid
            except UnverifiedSignatureError:
                continue
    except VerificationError as error:
        raise DamagedArtifact(asked, f"{error}", "give the public key of another kind") from error
    found = f"none of its {len(sealed.signatures)} signatures is by that key"
    raise DamagedArtifact(asked, found, "ask its maker for the public key, or for the bundle again")


def _public(key: Path) -> SSlibKey:
    data = _read(key)
    try:
        return SSlibKey.from_crypto(serialization.load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as error:
        found = "it is a private key" if b"PRIVATE KEY" in data else f"it is no public key in PEM ({_first(error)})"
        raise UsageError(f"check by {key}", found, f"name the file that ends in {PUBLIC}") from error


def _envelope(data: bytes) -> Envelope:
    try:
        return Envelope.from_dict(json.loads(data))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedArtifact("read the signature", f"it is no DSSE envelope ({_first(error)})", "ask again") from error


def _read(key: Path) -> bytes:
    try:
        return key.read_bytes()
    except OSError as error:
        raise MissingResource(f"read key {key}", f"{error.strerror}", "check the path") from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
