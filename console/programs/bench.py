"""Time depthscope's training loop against a textbook loop, in two processes that take turns so that other load on the
machine affects both alike."""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from console.text.formatting import byte_size, count, table
from engine.control.messages import Answer, Failed, Loop, Measured, Ready, Task
from engine.runs.launcher import KEEP_FREED_MEMORY
from engine.spec.devices import Device
from engine.spec.run import RunSpec
from models import cost

MACS_A_STEP = 3
"""Cost of a step in forward passes: backward takes one product for the inputs and one for the weights."""
NUM_IMAGES = 10_000
MATMUL_SECONDS = 2.0

Report = Callable[[str], None]
_decode: Callable[[str], Answer] = msgspec.json.Decoder(Answer).decode


@dataclass(slots=True)
class LoopResult:
    """Measurements of one loop."""

    ready: Ready | None
    rates: list[float]
    """One for each trial: images per second, or multiply-accumulates per second for matmul."""
    peak_memory_bytes: int
    error: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.rates) if self.rates else None


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """Measurements of all loops for one network; `deterministic` is None if not measured."""

    name: str
    spec: RunSpec
    ours: LoopResult
    textbook: LoopResult
    deterministic: LoopResult | None
    matmul_macs_per_second: float | None
    """Best rate of matrix products in depthscope's precision, in multiply-accumulates per second."""

    @property
    def ratio(self) -> float | None:
        """Depthscope's images per second over the textbook's."""
        ours, theirs = self.ours.median, self.textbook.median
        return None if ours is None or theirs is None else ours / theirs

    @property
    def share_of_matmul(self) -> float | None:
        """Fraction of the measured matmul rate that depthscope's training reaches."""
        if self.ours.median is None or self.matmul_macs_per_second is None:
            return None
        return self.ours.median * MACS_A_STEP * cost.forward_macs(self.spec.model) / self.matmul_macs_per_second

    @property
    def deterministic_cost_percent(self) -> float | None:
        """Throughput lost to determinism, in percent."""
        if self.deterministic is None or self.deterministic.median is None or self.ours.median is None:
            return None
        return 100 * (1 - self.deterministic.median / self.ours.median)


class LoopProcess:
    """A loop in a separate process."""

    def __init__(self, task: Task, device: Device) -> None:
        self.result = LoopResult(None, [], 0)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.programs.bench"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                # The launcher sets this for workers; the textbook loop runs with PyTorch's defaults.
                **(KEEP_FREED_MEMORY if task.loop is Loop.DEPTHSCOPE else {}),
                "DEPTHSCOPE_DEVICE": device.name,
                "CUDA_VISIBLE_DEVICES": device.visible,
            },
        )
        answer = self._ask(msgspec.json.encode(task).decode())
        if isinstance(answer, Ready):
            self.result.ready = answer

    def turn(self, seconds: float) -> None:
        """Run for one turn; a loop that has failed does nothing."""
        if self.result.error is None and isinstance(answer := self._ask(f"{seconds}"), Measured):
            self.result.rates.append(answer.amount / answer.seconds)
            self.result.peak_memory_bytes = answer.peak_memory_bytes

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, line: str) -> Answer | None:
        """Send a line and wait for the answer; None if the process exits without one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        answered = self._process.stdout.readline()
        if not answered:
            self.result.error = f"its process exited with status {self._process.wait()}"
            return None
        answer = _decode(answered)
        if isinstance(answer, Failed):
            self.result.error = answer.error
        return answer


def bench_network(
    name: str, spec: RunSpec, device: Device, *, trials: int, seconds: float, report: Report
) -> NetworkResult:
    """Time both loops on one network in turns; on a GPU, also depthscope's deterministic loop.

    The textbook loop takes network, batch size and optimizer from the spec.
    """
    repeating = msgspec.structs.replace(spec, recipe=msgspec.structs.replace(spec.recipe, deterministic=True))
    wanted = {"depthscope": (Loop.DEPTHSCOPE, spec), "textbook": (Loop.TEXTBOOK, spec)}
    if device.visible and not spec.recipe.deterministic:
        wanted["deterministic"] = (Loop.DEPTHSCOPE, repeating)
    wanted["matmul"] = (Loop.MATMUL, spec)
    loops: dict[str, LoopProcess] = {}
    try:
        for role, (loop, asked) in wanted.items():
            report(f"{name}: preparing {role}")
            loops[role] = LoopProcess(Task(loop=loop, spec=asked, num_images=NUM_IMAGES), device)
        for trial in range(trials):
            report(f"{name}: trial {trial + 1} of {trials}")
            for role, process in loops.items():
                process.turn(min(seconds, MATMUL_SECONDS) if role == "matmul" else seconds)
    finally:
        for process in loops.values():
            process.end()
    best = loops["matmul"].result.rates
    return NetworkResult(
        name=name,
        spec=spec,
        ours=loops["depthscope"].result,
        textbook=loops["textbook"].result,
        deterministic=loops["deterministic"].result if "deterministic" in loops else None,
        matmul_macs_per_second=max(best) if best else None,
    )


def bench_table(results: Sequence[NetworkResult]) -> str:
    """Table of results, one row for each network."""
    header = [
        "network", "precision", "depthscope", "textbook", "ratio", "of matmul", "memory", "textbook's", "1st step",
    ]  # fmt: skip
    with_repeating = any(result.deterministic is not None for result in results)
    rows = []
    for result in results:
        ready = result.ours.ready
        row = [
            result.name,
            "-" if ready is None else ready.precision.value,
            rate(result.ours),
            rate(result.textbook),
            "-" if result.ratio is None else f"{result.ratio:.2f}x",
            "-" if result.share_of_matmul is None else f"{100 * result.share_of_matmul:.0f} %",
            byte_size(result.ours.peak_memory_bytes or None),
            byte_size(result.textbook.peak_memory_bytes or None),
            "-" if ready is None else f"{ready.seconds_to_first_step:.1f} s",
        ]
        if with_repeating:
            cost_percent = result.deterministic_cost_percent
            row.append("-" if cost_percent is None else f"{cost_percent:.0f} %")
        rows.append(row)
    header += ["determinism costs"] if with_repeating else []
    return table(header, rows, align="<<" + ">" * (len(header) - 2))


def rate(result: LoopResult) -> str:
    """Median images per second with the range of the trials, or why there is none."""
    if result.median is None:
        return "out of memory" if result.error and "OutOfMemory" in result.error else "failed"
    return f"{count(result.median)} ({count(min(result.rates))}-{count(max(result.rates))})"


def conditions(results: Sequence[NetworkResult], *, trials: int, seconds: float) -> str:
    """Describe the conditions of the measurement (hardware, versions, trials) and any errors."""
    readies = [loop.ready for result in results for loop in (result.ours, result.textbook) if loop.ready is not None]
    lines = []
    if readies:
        first = readies[0]
        cuda = "" if first.cuda is None else f", CUDA {first.cuda}"
        lines.append(
            f"{first.device_name}, {os.cpu_count()} cores, {first.num_threads} threads; torch {first.torch}{cuda},"
            f" torchvision {first.torchvision}, Python {platform.python_version()}"
        )
    lines.append(f"images per second: median (and range) of {trials} alternating turns of {seconds:g} s")
    for result in results:
        for role, loop in (("depthscope", result.ours), ("textbook", result.textbook)):
            lines += [f"{result.name}, {role}: {loop.error}"] if loop.error else []
            lines += [f"{result.name}, {role}: {text}" for text in (loop.ready.notices if loop.ready else ())]
    return "\n".join(lines)


def bench_document(results: Sequence[NetworkResult], *, trials: int, seconds: float) -> dict[str, Any]:
    """JSON document of the results."""
    return {
        "trials": trials,
        "seconds": seconds,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "networks": [
            {
                "name": result.name,
                "spec": msgspec.to_builtins(result.spec),
                "depthscope": loop_document(result.ours),
                "textbook": loop_document(result.textbook),
                "deterministic": None if result.deterministic is None else loop_document(result.deterministic),
                "ratio": result.ratio,
                "share_of_matmul": result.share_of_matmul,
                "deterministic_cost_percent": result.deterministic_cost_percent,
                "matmul_macs_per_second": result.matmul_macs_per_second,
            }
            for result in results
        ],
    }


def loop_document(result: LoopResult) -> dict[str, Any]:
    """JSON document of one loop's results."""
    return {
        "images_per_second": result.rates,
        "median_images_per_second": result.median,
        "peak_memory_bytes": result.peak_memory_bytes,
        "error": result.error,
        **({} if result.ready is None else {"ready": msgspec.to_builtins(result.ready)}),
    }
