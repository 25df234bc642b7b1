"""Another user of the machine can reach nothing, even if all directories above the home are open."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.errors import EngineUnreachable
from engine.base.paths import short_runtime_directory
from engine.control.connection import Connection
from engine.control.launch import ensure_engine, greet
from engine.control.protocol import Done, NewRun, SetQueue, Submit
from engine.control.queue_state import QueueState
from tests.checkpoints import save_in
from tests.conftest import TestHome
from tests.engine.scripted import spec_of

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

TRY = """
import json, os, socket, sys
root = sys.argv[1]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
got = {}
for name in sys.argv[2:]:
    path = os.path.join(root, name)
    try:
        if name.endswith(".sock"):
            client = socket.socket(socket.AF_UNIX); client.settimeout(10); client.connect(path)
            client.sendall(b'{"request":"hello","id":"x","protocol":2}\\n')
            got[name] = client.recv(4096).decode() or "hung up"
        else:
            with open(path, "rb") as file: got[name] = f"{len(file.read())} bytes"
    except OSError as error:
        got[name] = type(error).__name__
print(json.dumps(got))
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory everyone may enter and read, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="depthscope-open-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def home(open_place: Path) -> Iterator[TestHome]:
    home = TestHome(open_place / "home")
    yield home
    home.end_everything()


def fill(home: TestHome) -> list[str]:
    """Create one of everything a home contains; return the relative paths."""
    ensure_engine(home.home)
    with Connection(home.home.engine_socket) as connection:
        connection.ask(SetQueue(state=QueueState.HELD))
        reply = connection.ask(Submit(runs=(NewRun(name="mine", spec=spec_of(0, "cpu")),)))
    assert isinstance(reply, Done)
    directory = home.directory(reply.runs[0])
    save_in(directory.path, {"spec": "s"})
    for path in (directory.log, directory.journal, directory.weights):
        path.write_bytes(b"secret")
    files = ("labels.json", "spec.json", "checkpoint.pt", "journal.jsonl", "worker.log", "weights.pt")
    return ["engine.sock", "depthscope.db", "engine.log", *(f"runs/{directory.id}/{name}" for name in files)]


def try_as_nobody(home: TestHome, names: list[str]) -> dict[str, str]:
    """Return what uid 65534 gets from each file and the socket."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(home.home.root), *names], capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@needs_root
def test_another_user_reads_nothing_and_connects_to_nothing(home: TestHome):
    """Neither database, checkpoints, logs nor socket."""
    names = fill(home)

    assert try_as_nobody(home, names) == dict.fromkeys(names, "PermissionError")


@needs_root
def test_with_open_modes_another_user_reads_all_but_the_socket_still_refuses(home: TestHome):
    """Control: modes protect the files; the socket also checks the peer's uid."""
    names = fill(home)
    for path in (home.home.root, *home.home.root.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    got = try_as_nobody(home, names)

    assert got["engine.sock"] in ("hung up", "BrokenPipeError", "ConnectionResetError")
    assert greet(home.home) is not None
    assert all(got[name].endswith(" bytes") for name in names[1:]), got


@needs_root
def test_a_console_speaks_to_an_engine_of_its_own_user_alone(open_place: Path):
    """Another user's process may listen in place of the engine."""
    path = open_place / "engine.sock"
    listen = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r}); s.listen(); print(flush=True);"
        " s.accept()[0].recv(9)"
    )
    open_place.chmod(0o777)
    child = subprocess.Popen([sys.executable, "-c", listen], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(EngineUnreachable, match=f"uid {NOBODY} listens on it"):
            Connection(path)
    finally:
        child.kill()
        child.communicate()


def refused(home: Path, *words: str) -> str:
    """Return the line with which a command refuses a home."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "console.cli", *words],
        env={**os.environ, "DEPTHSCOPE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


@needs_root
def test_a_home_of_another_user_is_refused(open_place: Path):
    """The owner of a directory can replace every file in it."""
    home = open_place / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)

    assert f"belongs to uid {NOBODY}" in refused(home, "engine", "start")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("part", ["", "runs", "data"])
def test_links_in_place_of_directories_are_refused(part: str, open_place: Path):
    """Whoever can move the link could redirect our writes."""
    elsewhere, home = open_place / "elsewhere", open_place / "home"
    elsewhere.mkdir()
    if part:
        home.mkdir(mode=0o700)
    (home / part).symlink_to(elsewhere) if part else home.symlink_to(elsewhere)

    assert "is not a directory" in refused(home, "engine", "start")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["engine.lock", "launch.lock", "engine.log", "depthscope.db"])
def test_links_in_place_of_files_are_not_followed(name: str, open_place: Path):
    """Nothing is written to their targets."""
    target, home = open_place / "target", open_place / "home"
    target.write_bytes(b"mine")
    home.mkdir(mode=0o700)
    (home / name).symlink_to(target)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "console.cli", "engine", "start"],
        env={**os.environ, "DEPTHSCOPE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode in (1, 2, 3), done.stdout
    assert "Traceback" not in done.stderr
    assert target.read_bytes() == b"mine"


def test_a_home_that_was_open_is_closed_before_anything_is_in_it(open_place: Path):
    """A home created by hand with default modes is closed first."""
    home = TestHome(open_place / "home")
    home.home.root.chmod(0o755)
    home.home.create()

    assert stat.S_IMODE(home.home.root.stat().st_mode) == 0o700


@needs_root
def test_a_socket_directory_made_by_another_user_is_refused(open_place: Path, monkeypatch: pytest.MonkeyPatch):
    """Its parent directory is writable by everyone."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(open_place))
    (open_place / f"depthscope-{os.getuid()}").mkdir(mode=0o777)
    os.chown(open_place / f"depthscope-{os.getuid()}", NOBODY, NOBODY)

    with pytest.raises(Exception, match=f"belongs to uid {NOBODY}"):
        short_runtime_directory()


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


MODES = str(Path(__file__).with_name("watch_modes"))


def test_whatever_is_made_is_made_private(home: TestHome, tmp_path: Path):
    """Under umask 022, by engine and console, from the start; the control is a file that is not."""
    seen = tmp_path / "seen"
    home.env |= {"PYTHONPATH": MODES, "DEPTHSCOPE_TEST_MODES": str(seen)}
    with umask(0o022):
        control = "open(__import__('os').environ['DEPTHSCOPE_HOME'] + '/control', 'w').close()"
        subprocess.run([sys.executable, "-c", control], env=home.env, check=True)
        assert seen.read_text() == f"{home.home.root}/control 644\n"
        seen.unlink()
        (home.home.root / "control").unlink()
        images = tmp_path / "images"
        make_images(images)
        home.cli("data", "import", str(images), "--name", "mine")
        home.cli("engine", "start")
        engine = home.engine_pid()
        home.cli("queue", "hold")
        home.json("train", "-a", "he-plain", "-d", "8", "--data", "mine", "--batch-size", "2", "--detach")
        home.cli("ls")

    assert not seen.exists(), seen.read_text()
    if sys.platform == "linux":
        # Files created by libraries, such as the database, pass no hook of ours; the umask covers them.
        assert "Umask:\t0077" in Path(f"/proc/{engine}/status").read_text()
    for path in (home.home.root, *home.home.root.rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.lstat().st_mode) == wanted, path


def make_images(root: Path) -> None:
    from PIL import Image

    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (32, 32), (40 * number, 90, 10)).save(root / part / name / f"{number}.png")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_worker_makes_private_files_alone(wait_until: Any, tmp_path: Path):
    """Enforced by the umask, whoever started it and whichever library writes."""
    home = TestHome(tmp_path / "home")
    home.add_tiny()
    try:
        with umask(0o022):
            run = home.train("--epochs", "2000")
        wait_until(home.directory(run).checkpoint.exists)
        status = Path(f"/proc/{home.worker_pid(run)}/status").read_text()
    finally:
        home.end_everything()
    assert "Umask:\t0077" in status
