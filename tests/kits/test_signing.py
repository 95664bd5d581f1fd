"""Signatures: the right key says yes, every other says no, and what is no key is told so."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.kits import signing

MESSAGE = b'{"a": 1}\n'


def test_only_the_key_that_signed_verifies(tmp_path: Path) -> None:
    public, other = signing.new_key(tmp_path / "mine"), signing.new_key(tmp_path / "other")
    envelope = signing.sign(MESSAGE, tmp_path / "mine")
    assert signing.signed_payload(envelope) == MESSAGE and len(signing.verify(envelope, public)) == 64
    with pytest.raises(DamagedArtifact, match="none of its 1 signatures is by that key"):
        signing.verify(envelope, other)
    changed = json.loads(envelope) | {"payload": "eyJhIjogMn0K"}
    with pytest.raises(DamagedArtifact):
        signing.verify(json.dumps(changed).encode(), public)


def test_the_private_key_is_for_its_owner_alone_and_never_written_over(tmp_path: Path) -> None:
    signing.new_key(tmp_path / "mine")
    before = (tmp_path / "mine").read_bytes()
    assert (tmp_path / "mine").stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="exists"):
        signing.new_key(tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == before
    with pytest.raises(MissingResource):
        signing.new_key(tmp_path / "nowhere" / "mine")


def test_an_rsa_key_made_elsewhere_signs_too(tmp_path: Path) -> None:
    private = rsa.generate_private_key(65537, 2048)
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "k").write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / "k.pub").write_bytes(private.public_key().public_bytes(pem, form))
    assert signing.verify(signing.sign(MESSAGE, tmp_path / "k"), tmp_path / "k.pub")
    locked = serialization.BestAvailableEncryption(b"word")
    (tmp_path / "locked").write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(UsageError, match="locked by a password"):
        signing.sign(MESSAGE, tmp_path / "locked")


def test_what_is_no_key_is_told_so(tmp_path: Path) -> None:
    public = signing.new_key(tmp_path / "mine")
    (tmp_path / "text").write_text("hello")
    envelope = signing.sign(MESSAGE, tmp_path / "mine")
    with pytest.raises(UsageError, match="it is a public key"):
        signing.sign(MESSAGE, public)
    with pytest.raises(UsageError, match="it is a private key"):
        signing.verify(envelope, tmp_path / "mine")
    with pytest.raises(UsageError, match="no private key"):
        signing.sign(MESSAGE, tmp_path / "text")
    with pytest.raises(UsageError, match="no public key"):
        signing.verify(envelope, tmp_path / "text")
    with pytest.raises(MissingResource):
        signing.verify(envelope, tmp_path / "absent")
    for broken in (b"", b"[]", b"{}", b'{"payload": 1, "payloadType": "", "signatures": []}'):
        with pytest.raises(DamagedArtifact, match="no DSSE envelope"):
            signing.verify(broken, public)


def test_openssl_reads_the_key_and_finds_the_signature_good(tmp_path: Path) -> None:
    """Somebody without edgesmith can check: the signature is over DSSE's own encoding."""
    public = signing.new_key(tmp_path / "mine")
    envelope = json.loads(signing.sign(MESSAGE, tmp_path / "mine"))
    kind = envelope["payloadType"].encode()
    (tmp_path / "pae").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(MESSAGE), MESSAGE))
    import base64

    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
    words += ["-in", str(tmp_path / "pae"), "-sigfile", str(tmp_path / "sig")]
    try:
        found = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    assert found.returncode == 0, found.stderr
