"""Probes from the outside: in processes of their own, and kept for as long as they are true. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

import msgspec

from engine.base.errors import DepthscopeError
from engine.base.paths import Home, write_atomically
from engine.estimates.duration import Pace
from engine.runs.launcher import training_environment
from engine.spec.devices import Device
from engine.spec.run import RunSpec

MAX_KEPT = 500


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One line of what a probe is asked."""

    spec: RunSpec
    num_train: int
    num_test: int
    num_threads: int | None = None
    """CPU threads to compute on; None leaves the choice to torch."""


class NoPace(msgspec.Struct, frozen=True, kw_only=True, tag_field="found", tag="nothing"):
    """Why a network could not be timed."""

    reason: str


class ProbeFailed(DepthscopeError):
    """The process that probes ended before it had answered; the text has its last words."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A probe of an earlier command."""

    pace: Pace
    threads_asked: str | None
    """OMP_NUM_THREADS as it was then, which decides how many threads torch takes; None where it was not set."""


_decode_answer = msgspec.json.Decoder(Pace | NoPace).decode


def torch_version() -> str:
    """The version of the torch that a worker will load, by its package's own description."""
    return importlib.metadata.version("torch")


def same_torch(one: str, other: str) -> bool:
    """Whether two versions are the same release; packages leave out for what it was built."""
    return one.partition("+")[0] == other.partition("+")[0]


def threads_asked() -> str | None:
    """How many threads the environment wants, in its own word."""
    return os.environ.get("OMP_NUM_THREADS")


def run_probes(home: Home, device: Device, tasks: Sequence[Task]) -> Iterator[Pace | NoPace]:
    """What a few steps of each task take on a device, in order, each as soon as it is known.

    Raises:
        ProbeFailed: the process could not be started, or ended early.
    """
    with tempfile.TemporaryFile() as questions, tempfile.TemporaryFile() as words:
        questions.write(b"".join(msgspec.json.encode(task) + b"\n" for task in tasks))
        questions.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.programs.probe"],
                stdin=questions,
                stdout=subprocess.PIPE,
                stderr=words,
                env=training_environment(home.root, device),
            )
        except OSError as error:
            raise ProbeFailed(f"the probe could not be started: {error}") from error
        assert process.stdout is not None
        num_answers = 0
        try:
            for line in process.stdout:
                num_answers += 1
                yield _decode_answer(line)
            process.wait()
        finally:
            process.stdout.close()
            process.kill()
            process.wait()
        if num_answers < len(tasks):
            words.seek(0)
            last = words.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise ProbeFailed(f"the probe ended early: {last[0] if last else f'status {process.returncode}'}")


def probe_all(
    home: Home, device: Device, tasks: Sequence[Task], report: Callable[[Task, Pace | NoPace], None]
) -> list[Pace]:
    """The paces of all tasks that could be timed; a process for those that must repeat themselves, one for the others.

    Args:
        home: Beside whose run directories a checkpoint is tried.
        device: Where.
        tasks: Each distinct workload once.
        report: Is told of every answer as it comes.

    Raises:
        ProbeFailed: a process ended early.
    """
    found: list[Pace] = []
    for deterministic in (False, True):
        # That setting holds for a process, and cannot be taken back.
        asked = [task for task in tasks if task.spec.recipe.deterministic is deterministic]
        if not asked:
            continue
        for task, answer in zip(asked, run_probes(home, device, asked), strict=False):
            report(task, answer)
            if isinstance(answer, Pace):
                found.append(answer)
    return found


def read_kept(home: Home) -> list[Pace]:
    """Probes of earlier commands with the torch and the threads of now; none where the file is missing or damaged."""
    version, threads = torch_version(), threads_asked()
    return [kept.pace for kept in _read(home) if same_torch(kept.pace.torch, version) and kept.threads_asked == threads]


def keep(home: Home, paces: Sequence[Pace]) -> None:
    """Keep probes for later commands, in place of earlier ones of the same workloads."""
    threads = threads_asked()
    fresh = [Kept(pace=pace, threads_asked=threads) for pace in paces]
    replaced = {(kept.pace.workload, kept.pace.device_name, kept.threads_asked) for kept in fresh}
    others = [
        kept for kept in _read(home) if (kept.pace.workload, kept.pace.device_name, kept.threads_asked) not in replaced
    ]
    write_atomically(home.probes, msgspec.json.encode([*others, *fresh][-MAX_KEPT:]))


def _read(home: Home) -> list[Kept]:
    try:
        return msgspec.json.decode(home.probes.read_bytes(), type=list[Kept])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return []
