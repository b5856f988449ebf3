"""A ZIP whose files are listed with their SHA-256 in manifest.json, and that list signed with Ed25519 (RFC 8032).

It is written as a stream, so that nothing of it has to fit into memory, and verified the same way. Nothing here knows
what stands in it, nor reads the database: whoever has the file and the public key can verify it.
"""

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

MANIFEST, SIGNATURE, KEY = "manifest.json", "manifest.json.sig", "signing-key.pem"
# What no list can hold: the list itself, and what is about it.
UNLISTED = (MANIFEST, SIGNATURE)
CHUNK = 64 * 1024
LONGEST_LIST = 64 * 1024 * 1024  # a list of files that is longer is none of ours
# What reading a damaged or forged archive raises.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, KeyError)


@dataclass(frozen=True)
class File:
    """One file of a pack: its name, its content in pieces, and what it says, in a few words."""

    path: str
    content: Iterable[bytes]
    about: str


def plain_json(value: Any) -> bytes:
    """JSON for people and programs alike."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, default=_written) + "\n").encode()


def _written(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def hex_of(key: Ed25519PublicKey) -> str:
    """A public key as 64 hexadecimal digits."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def pem_of(key: Ed25519PublicKey) -> str:
    """A public key as other programs read it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


# ── Seal ────────────────────────────────────────────────────────────────────


class _Outlet:
    """A file to write to that hands back what it was given."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.held = 0
        self.size = 0

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        self.held += len(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def take(self, least: int = 0) -> Iterator[bytes]:
        if self.held > least:
            yield b"".join(self.pieces)
            self.pieces, self.held = [], 0


@dataclass
class Sealed:
    """What became of a pack, once all of it was handed out."""

    size: int = 0
    manifest_sha256: str = ""


def seal(files: Iterable[File], head: dict[str, Any], key: Ed25519PrivateKey, done: Sealed) -> Iterator[bytes]:
    """The ZIP, piece by piece. `head` is what the manifest says besides its files; `done` is filled in at the end."""
    out = _Outlet()
    public = key.public_key()
    listed: list[dict[str, Any]] = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:  # type: ignore[call-overload]
        for one in _with_key(files, public):
            digest, size = hashlib.sha256(), 0
            with archive.open(_entry(one.path), "w", force_zip64=True) as entry:
                for piece in one.content:
                    digest.update(piece)
                    size += len(piece)
                    entry.write(piece)
                    yield from out.take(CHUNK)
            listed.append({"path": one.path, "sha256": digest.hexdigest(), "size": size, "about": one.about})
        manifest = plain_json({**head, "signed_with": hex_of(public), "files": listed})
        archive.writestr(_entry(MANIFEST), manifest)
        archive.writestr(_entry(SIGNATURE), key.sign(manifest))
    yield from out.take()
    done.size, done.manifest_sha256 = out.size, hashlib.sha256(manifest).hexdigest()


def _with_key(files: Iterable[File], key: Ed25519PublicKey) -> Iterator[File]:
    yield from files
    yield File(KEY, [pem_of(key).encode()], "the public half of the key that signed manifest.json")


def _entry(path: str) -> zipfile.ZipInfo:
    """Without the moment of writing: what is in it says when it was made."""
    entry = zipfile.ZipInfo(path)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


# ── Verify ──────────────────────────────────────────────────────────────────


@dataclass
class Verdict:
    """What a look at a pack found. `signed_with` is the key that the pack names, as hexadecimal digits.

    Whether that key is the portal's, the pack cannot say: whoever changes all of it signs it with a key of their own.
    """

    signed_with: str = ""
    head: dict[str, Any] = field(default_factory=dict)
    files: int = 0
    unreadable: str = ""  # why it cannot be read at all
    unsigned: bool = False  # the signature does not fit the list, or the key that was given
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not (self.unreadable or self.unsigned or self.changed or self.missing or self.added)


def read_key(text: str) -> Ed25519PublicKey:
    """A public key that somebody typed: 64 hexadecimal digits, or PEM. Raises ValueError."""
    text = text.strip()
    if text.startswith("-----BEGIN"):
        key = load_pem_public_key(text.encode())
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 key")
        return key
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))


def verify(file: Path | BinaryIO, key: Ed25519PublicKey | None = None) -> Verdict:
    """Whether every file is as it was signed; with `key`, whether that key signed it. Raises OSError without a file."""
    stream: BinaryIO = file.open("rb") if isinstance(file, Path) else file
    found = Verdict()
    try:
        with zipfile.ZipFile(stream) as archive:
            _verify(archive, key, found)
    except DAMAGE as error:
        found.unreadable = str(error) or type(error).__name__
    finally:
        if isinstance(file, Path):
            stream.close()
    return found


def _verify(archive: zipfile.ZipFile, key: Ed25519PublicKey | None, found: Verdict) -> None:
    names = archive.namelist()
    manifest = _read(archive, MANIFEST, LONGEST_LIST)
    said = json.loads(manifest)
    found.head = {name: value for name, value in said.items() if name != "files"}
    found.signed_with = said["signed_with"]
    try:
        (key or read_key(found.signed_with)).verify(_read(archive, SIGNATURE, CHUNK), manifest)
    except InvalidSignature:
        found.unsigned = True
        return  # what an unsigned list says of the files proves nothing
    listed = {one["path"]: one for one in said["files"]}
    found.files = len(listed)
    found.added = sorted({one for one in names if one not in listed and one not in UNLISTED} | _twice(names))
    for path, one in listed.items():
        if path not in names:
            found.missing.append(path)
        elif _digest(archive, path, one["size"]) != one["sha256"]:
            found.changed.append(path)


def _twice(names: list[str]) -> set[str]:
    return {one for one in names if names.count(one) > 1} if len(names) != len(set(names)) else set()


def _read(archive: zipfile.ZipFile, path: str, most: int) -> bytes:
    with archive.open(path) as entry:
        content = entry.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path} is longer than it can be")
    return content


def _digest(archive: zipfile.ZipFile, path: str, size: int) -> str:
    """SHA-256 of a file; empty if it cannot be read, or is longer than it says (which need not be unpacked then)."""
    digest, left = hashlib.sha256(), size
    try:
        with archive.open(path) as entry:
            while piece := entry.read(CHUNK):
                left -= len(piece)
                if left < 0:
                    return ""
                digest.update(piece)
    except DAMAGE:
        return ""
    return digest.hexdigest()
