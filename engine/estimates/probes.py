"""Run speed probes in separate processes and cache their results. Does not import torch."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

import msgspec

from engine.base.decoding import decode_json, decoder
from engine.base.errors import DepthscopeError
from engine.base.paths import Home, write_atomically
from engine.base.regular_files import read_regular
from engine.estimates.duration import Pace
from engine.runs.launcher import training_environment
from engine.spec.devices import Device
from engine.spec.run import RunSpec

MAX_KEPT = 500
MAX_FILE_BYTES = 4 << 20


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Request to a probe, one line of JSON."""

    spec: RunSpec
    num_train: int
    num_test: int
    num_threads: int | None = None
    """CPU threads; None leaves the choice to torch."""


class NoPace(msgspec.Struct, frozen=True, kw_only=True, tag_field="found", tag="nothing"):
    """Reason why a network could not be timed."""

    reason: str


class ProbeFailed(DepthscopeError):
    """The probe exited before answering; the text has its last line of output."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Cached result of a probe."""

    pace: Pace
    threads_asked: str | None
    """OMP_NUM_THREADS at the time, which sets torch's number of threads; None if unset."""


_decode_answer = decoder(Pace | NoPace)


def torch_version() -> str:
    """Return the installed version of torch from its package metadata."""
    return importlib.metadata.version("torch")


def same_torch(one: str, other: str) -> bool:
    """Return whether two versions are the same release, ignoring the build suffix."""
    return one.partition("+")[0] == other.partition("+")[0]


def threads_asked() -> str | None:
    """Return OMP_NUM_THREADS as set in the environment."""
    return os.environ.get("OMP_NUM_THREADS")


def run_probes(home: Home, device: Device, tasks: Sequence[Task]) -> Iterator[Pace | NoPace]:
    """Time a few steps of each task on a device; yields results in order as they arrive.

    Raises:
        ProbeFailed: the process could not be started or exited early.
    """
    with tempfile.TemporaryFile() as questions, tempfile.TemporaryFile() as errors:
        questions.write(b"".join(msgspec.json.encode(task) + b"\n" for task in tasks))
        questions.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.programs.probe"],
                stdin=questions,
                stdout=subprocess.PIPE,
                stderr=errors,
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
            errors.seek(0)
            last = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise ProbeFailed(f"the probe exited early: {last[0] if last else f'status {process.returncode}'}")


def probe_all(
    home: Home, device: Device, tasks: Sequence[Task], report: Callable[[Task, Pace | NoPace], None]
) -> list[Pace]:
    """Time all tasks, in one process for deterministic ones and one for the others, and return what was measured.

    Args:
        home: Checkpoints are timed on its file system.
        tasks: Distinct workloads.
        report: Called with every answer as it arrives.

    Raises:
        ProbeFailed: a process exited early.
    """
    found: list[Pace] = []
    for deterministic in (False, True):
        # torch's deterministic mode is set per process and cannot be undone.
        batch = [task for task in tasks if task.spec.recipe.deterministic is deterministic]
        if not batch:
            continue
        for task, answer in zip(batch, run_probes(home, device, batch), strict=False):
            report(task, answer)
            if isinstance(answer, Pace):
                found.append(answer)
    return found


def read_kept(home: Home) -> list[Pace]:
    """Read cached probes made with the current torch and threads; empty if the file is missing or damaged."""
    version, threads = torch_version(), threads_asked()
    return [kept.pace for kept in _read(home) if same_torch(kept.pace.torch, version) and kept.threads_asked == threads]


def keep(home: Home, paces: Sequence[Pace]) -> None:
    """Cache probes for later commands, replacing earlier ones of the same workloads."""
    threads = threads_asked()
    fresh = [Kept(pace=pace, threads_asked=threads) for pace in paces]
    replaced = {(kept.pace.workload, kept.pace.device_name, kept.threads_asked) for kept in fresh}
    others = [
        kept for kept in _read(home) if (kept.pace.workload, kept.pace.device_name, kept.threads_asked) not in replaced
    ]
    write_atomically(home.probes, msgspec.json.encode([*others, *fresh][-MAX_KEPT:]))


def _read(home: Home) -> list[Kept]:
    try:
        return decode_json(read_regular(home.probes, limit=MAX_FILE_BYTES), list[Kept])
    except (OSError, msgspec.DecodeError):
        return []
