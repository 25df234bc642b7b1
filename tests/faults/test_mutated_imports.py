"""Whatever was done to a run's files, import refuses it or takes a run that can be listed, shown and rebuilt."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from console.text.listing import run_page, runs_table
from engine.base.errors import UsageError
from engine.control.protocol import Import
from engine.runs import verification
from engine.runs.transfer import look_at, staged
from engine.spec.devices import CPU
from tests.conftest import TestHome
from tests.engine.scripted import scene
from tests.recorded_runs import RECORDED

RUN = RECORDED / "quickstart" / "2da12d5497"
NAMES = ("spec.json", "labels.json", "exit.json", "journal.jsonl")
NUM_MUTATIONS = 120
VALUES = (b"9" * 30, b"-1", b"1e999", b"-1e300", b"18446744073709551616", b"0", b"null", b'"x"', b"[" * 5000, b"{}")


def mutate(content: bytes, draws: random.Random) -> bytes:
    """Change a few bytes, or replace a number by something that does not fit."""
    found = bytearray(content)
    for _ in range(draws.randint(1, 3)):
        digits = [place for place, byte in enumerate(found) if 48 <= byte < 58]
        if digits and draws.random() < 0.7:
            first = last = draws.choice(digits)
            while first > 0 and found[first - 1] in b"0123456789.e-":
                first -= 1
            while last < len(found) and found[last] in b"0123456789.e-":
                last += 1
            found[first:last] = draws.choice(VALUES)
        else:
            place = draws.randrange(len(found))
            found[place : place + draws.randint(0, 3)] = draws.randbytes(draws.randint(0, 3))
    return bytes(found)


def take(tmp_path: Path, source: Path) -> None:
    """Import a run and do with it what an engine and its users do."""
    here = scene(TestHome(tmp_path / "home").home, [CPU])
    run = look_at(source)
    with staged(here.home, [run], "0" * 32, lambda _text: None):
        here.ask(Import(token="0" * 32, runs=(run.id,)))
    for _ in range(2):
        (found,) = here.supervisor.reader.runs()
        assert found.is_finished
        assert runs_table([found])
        assert run_page(found, here.supervisor.reader.epochs(found.id), here.supervisor.reader.events(found.id))
        here.supervisor.rebuild()
    here.supervisor.reader.close()
    here.supervisor.store.close()


@pytest.mark.slow
def test_a_mutated_run_is_refused_or_taken_for_good(tmp_path: Path):
    """Some of both, or the mutations would show nothing."""
    draws = random.Random(0)
    num_taken, refusals = 0, []
    for number in range(NUM_MUTATIONS):
        case = tmp_path / str(number)
        source = Path(shutil.copytree(RUN, case / RUN.name))
        changed = source / draws.choice(NAMES)
        changed.write_bytes(mutate(changed.read_bytes(), draws))
        try:
            take(case, source)
            num_taken += 1
        except UsageError as error:
            refusals.append(str(error))
        shutil.rmtree(case)
    assert num_taken
    assert refusals
    assert not any("\n" in text for text in refusals)


def test_without_its_checks_import_would_lose_the_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Control: an exit record that cannot be decoded."""
    source = Path(shutil.copytree(RUN, tmp_path / RUN.name))
    (source / "exit.json").write_bytes(b"[" * 200_000)
    with pytest.raises(UsageError, match=r"exit\.json is damaged"):
        take(tmp_path, source)
    monkeypatch.setattr(verification, "decoded", lambda _path, _kind: None)
    with pytest.raises(AssertionError):
        take(tmp_path / "again", source)
