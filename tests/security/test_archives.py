"""Archives with paths outside their folder, or that unpack to excessive sizes, are refused in one line."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine.data.archives import MAX_MEMBER_BYTES

MAX_RESIDENT_BYTES = 300 << 20
MEASURE = (
    "import pathlib, re, runpy, sys\n"
    "sys.argv = ['depthscope', *sys.argv[1:]]\n"
    "try:\n    runpy.run_module('console.cli', run_name='__main__')\n"
    "finally:\n    status = pathlib.Path('/proc/self/status')\n"
    "    peak = re.search(r'VmHWM:\\s*(\\d+)', status.read_text())[1] if status.exists() else 0\n"
    "    print(peak, flush=True)\n"
)


def tar(path: Path, name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 4) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as stream, tarfile.open(fileobj=stream, mode="w|") as file:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        member.size = size if kind == tarfile.REGTYPE else 0
        file.addfile(member, Zeros(size) if kind == tarfile.REGTYPE else None)
    return path


class Zeros(io.RawIOBase):
    """A stream of zeros that takes no memory."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken = self._left if size < 0 else min(size, self._left)
        self._left -= taken
        return bytes(taken)


def lying_zip(path: Path) -> Path:
    """Write a zip with a member that claims ten bytes and unpacks to a hundred megabytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train/cat/0.png", bytes(100 << 20))
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(signature) + offset
        content[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    return path


CASES = {
    "absolute": (lambda path: tar(path, "/train/cat/0.png"), "would lie outside"),
    "climbing": (lambda path: tar(path, "train/../../../cat/0.png"), "would lie outside"),
    "a link": (lambda path: tar(path, "train/cat/0.png", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
    "a hard link": (lambda path: tar(path, "train/cat/0.png", tarfile.LNKTYPE, "../../x"), "is a link"),
    "a device": (lambda path: tar(path, "train/cat/0.png", tarfile.CHRTYPE), "is a link, a device"),
    "a bomb": (lambda path: tar(path, "train/cat/0.png", size=MAX_MEMBER_BYTES + (64 << 20)), "must have at most"),
    "a lying zip": (lying_zip, "damaged"),
}


ANY_NAME = (
    "import engine.data.archives; engine.data.archives.checked_parts = lambda path, name: tuple(name.split('/'))\n"
)
ANY_KIND = "import tarfile; tarfile.TarInfo.isreg = lambda header: True\n"
ANY_SIZE = "import engine.data.archives; engine.data.archives.MAX_MEMBER_BYTES = 1 << 40\n"
TAKEN_OUT = {
    "absolute": (ANY_NAME, "would lie outside"),
    "climbing": (ANY_NAME, "would lie outside"),
    "a link": (ANY_KIND, "is a link"),
    "a device": (ANY_KIND, "is a link"),
    "a bomb": (ANY_SIZE, f"< {MAX_RESIDENT_BYTES}|must have at most"),
}
"""Removed safeguards, and what then goes wrong."""


def check_refused(case: str, home: Any, tmp_path: Path, *, changed: str = "") -> None:
    """Import a malicious archive, and check that it is refused properly.

    Args:
        case: Name of the archive.
        home: A bare home.
        tmp_path: Directory around the home.
        changed: Code executed first by the importing process.
    """
    make, words = CASES[case]
    archive = make(tmp_path / "archive")
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", changed + MEASURE, "data", "import", str(archive), "--name", "theirs"],
        env=home.env,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode in (1, 2)
    assert int(done.stdout.splitlines()[-1]) * 1024 < MAX_RESIDENT_BYTES
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("depthscope: ")
    made = {path for path in tmp_path.rglob("*") if path not in before}
    assert {path.relative_to(home.home.root).parts[0] for path in made} <= {"data"}
    assert not (home.home.data / "theirs").exists()


@pytest.mark.parametrize("case", CASES)
def test_an_archive_that_means_harm_is_refused(case: str, bare_home: Any, tmp_path: Path):
    """Refused by name, in one line and with little memory; nothing is written."""
    check_refused(case, bare_home, tmp_path)


@pytest.mark.parametrize("case", TAKEN_OUT)
def test_without_its_safeguard_a_malicious_archive_would_be_accepted(case: str, bare_home: Any, tmp_path: Path):
    """Controls: the same check fails at what the safeguard prevents."""
    changed, seen = TAKEN_OUT[case]
    with pytest.raises(AssertionError, match=seen):
        check_refused(case, bare_home, tmp_path, changed=changed)
