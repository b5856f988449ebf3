"""A sealed ZIP: whatever is changed in it is found."""

import hashlib
import io
import json
import random
import subprocess
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from feedback import sealing
from feedback.sealing import MANIFEST, SIGNATURE, File, Sealed

KEY = Ed25519PrivateKey.generate()
FILES = {
    "README.txt": b"Read me.\n" * 40,
    "updates/01/approved.json": b'{"title":"Card payments fail"}',
    "empty.csv": b"",
    "noise.bin": random.Random(7).randbytes(3000),
}


def a_pack(key: Ed25519PrivateKey = KEY, files: dict[str, bytes] = FILES) -> bytes:
    # In pieces, as a million lines come.
    found = [
        File(path, (content[n : n + 100] for n in range(0, len(content), 100)), "x") for path, content in files.items()
    ]
    return b"".join(sealing.seal(found, {"schema": "test", "version": 1}, key, Sealed()))


def look(pack: bytes, key=None):
    return sealing.verify(io.BytesIO(pack), key)


def rewritten(pack: bytes, changes: dict[str, bytes | None], more: dict[str, bytes] | None = None) -> bytes:
    """The archive made anew by somebody who changes files, leaves some out (None) and adds others."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(pack)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = changes.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in (more or {}).items():
            new.writestr(name, content)
    return out.getvalue()


def test_a_pack_holds_its_files_and_lists_each_with_its_hash():
    done = Sealed()
    pack = b"".join(sealing.seal([File("a.txt", [b"one", b"two"], "words")], {"schema": "test"}, KEY, done))
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        assert archive.testzip() is None
        assert archive.read("a.txt") == b"onetwo"
        said = json.loads(archive.read(MANIFEST))
        assert done.manifest_sha256 == hashlib.sha256(archive.read(MANIFEST)).hexdigest()
    assert said["files"][0] == {
        "path": "a.txt",
        "sha256": hashlib.sha256(b"onetwo").hexdigest(),
        "size": 6,
        "about": "words",
    }
    assert said["signed_with"] == sealing.hex_of(KEY.public_key())
    assert done.size == len(pack)
    found = look(pack, KEY.public_key())
    assert found.whole
    assert found.files == 2  # the key is one of them


@pytest.mark.parametrize("name", [*FILES, sealing.KEY])
def test_a_byte_that_was_changed_is_found_in_its_file(name):
    pack = a_pack()
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        content = bytearray(archive.read(name) or b"x")
    content[len(content) // 2] ^= 1
    found = look(rewritten(pack, {name: bytes(content)}))
    assert found.changed == [name]
    assert not found.whole


def test_a_list_that_was_changed_fits_no_signature():
    pack = a_pack()
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        manifest, signature = archive.read(MANIFEST), bytearray(archive.read(SIGNATURE))
    assert look(rewritten(pack, {MANIFEST: manifest.replace(b"test", b"fest")})).unsigned
    signature[3] ^= 1
    assert look(rewritten(pack, {SIGNATURE: bytes(signature)})).unsigned


def test_what_was_left_out_or_added_is_found():
    pack = a_pack()
    assert look(rewritten(pack, {"README.txt": None})).missing == ["README.txt"]
    assert look(rewritten(pack, {}, {"updates/02/approved.json": b"{}"})).added == ["updates/02/approved.json"]
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = rewritten(pack, {}, {"README.txt": FILES["README.txt"]})
    assert look(twice).added == ["README.txt"]


def test_a_forger_signs_with_another_key():
    forged = a_pack(Ed25519PrivateKey.generate(), {**FILES, "README.txt": b"All went well."})
    assert look(forged).whole  # by its own word alone
    assert look(forged).signed_with != sealing.hex_of(KEY.public_key())
    assert look(forged, KEY.public_key()).unsigned


def test_no_byte_of_the_archive_changes_unnoticed_what_somebody_reads():
    """A changed byte is found, or it is one of the archive's own that changes nothing in any file."""
    pack = a_pack()
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        true = {name: archive.read(name) for name in archive.namelist()}
    found = 0
    for place in range(0, len(pack), 3):
        changed = bytearray(pack)
        changed[place] ^= 0x21
        if not look(bytes(changed)).whole:
            found += 1
            continue
        with zipfile.ZipFile(io.BytesIO(changed)) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == true
    assert found > len(pack) // 3 * 0.7


@pytest.mark.parametrize("pack", [b"", b"PK", b"no archive at all", a_pack()[:-200], a_pack()[:500]])
def test_what_is_no_pack_or_broke_off_is_said_to_be_none(pack):
    found = look(pack)
    assert found.unreadable
    assert not found.whole


def test_an_archive_of_somebody_else_is_no_pack():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "x")
    assert look(out.getvalue()).unreadable


def test_a_file_that_unpacks_to_more_than_it_says_is_not_unpacked():
    pack = a_pack()
    bomb = zipfile.ZipInfo("README.txt")
    bomb.compress_type = zipfile.ZIP_DEFLATED
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(pack)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(
                bomb if name == "README.txt" else name, b"\0" * 50_000_000 if name == "README.txt" else old.read(name)
            )
    assert look(out.getvalue()).changed == ["README.txt"]


@pytest.mark.parametrize("write", [sealing.hex_of, sealing.pem_of])
def test_a_key_is_read_as_it_is_written(write):
    assert sealing.hex_of(sealing.read_key(write(KEY.public_key()))) == sealing.hex_of(KEY.public_key())


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, "ab" * 31, "-----BEGIN PUBLIC KEY-----\nx"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ValueError, match=r".*"):
        sealing.read_key(text)


def test_openssl_verifies_it_without_us(tmp_path):
    with zipfile.ZipFile(io.BytesIO(a_pack())) as archive:
        archive.extractall(tmp_path)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "signing-key.pem", "-rawin", "-in", MANIFEST]
    command += ["-sigfile", SIGNATURE]
    try:
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("openssl is missing")
    assert "Verified Successfully" in run.stdout, run.stderr
