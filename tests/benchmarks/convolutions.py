"""Find convolutions that this torch miscomputes on a CPU: `uv run python -m tests.benchmarks.convolutions [--help]`.

Each case runs forward and backward twice in a process of its own, whose tensors end at an inaccessible page (guard.c;
needs a C compiler and Linux on x86-64), and compares output and gradients with float64. Repeat it with another torch:
`engine/training/layout.py` names the shapes that must not reach oneDNN in channels-last layout.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.spec.precision import Layout
from engine.training.layout import lay_out, memory_format

THREADS = (1, 2, 3, 4, 6, 12)
SIDES = (8, 16, 32)
TOLERANCE = {"fp32": 2e-5, "bf16": 1e-2}
"""Largest error of a tensor, relative to its norm: far above rounding, far below a wrong term."""
MAX_SECONDS = 60
"""Limit on one case; more counts as hung."""


class Case(NamedTuple):
    """A convolution, what it is applied to, and how."""

    kernel: int
    stride: int
    inputs: int
    outputs: int
    batch: int
    side: int
    threads: int
    precision: str
    layout: str
    bias: bool


class Verdict(StrEnum):
    """What became of a case."""

    RIGHT = "right"
    WRITES = "writes past the end"
    READS = "reads past the end"
    WRONG = "wrong numbers"
    UNSTEADY = "differs when repeated"
    DIED = "died"


EXITS = {0: Verdict.RIGHT, 101: Verdict.WRITES, 102: Verdict.READS, 104: Verdict.WRONG, 105: Verdict.UNSTEADY}


def grid(kernel: int, stride: int, layout: str) -> Iterator[Case]:
    """All cases of a kernel and stride: stem, convolutions and projections of networks, and odd numbers around 16."""
    batches = (1, 10, 25, 64, 128) if kernel == 1 else (10, 25, 64)
    inputs = (
        (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 32) if kernel == 1 else (1, 2, 3, 4, 8, 12, 15, 16, 24)
    )
    for num_inputs, batch, side, threads in itertools.product(inputs, batches, SIDES, THREADS):
        for num_outputs in sorted({2 * num_inputs, 4 * num_inputs, 16}):
            for precision in TOLERANCE:
                # A bias is another sum over the gradient, so some cases suffice.
                for bias in (False, True) if batch == 25 and side == 16 else (False,):
                    yield Case(kernel, stride, num_inputs, num_outputs, batch, side, threads, precision, layout, bias)


def compute(case: Case) -> list[Tensor]:
    """Output and gradients of image, weight and bias; the process's threads are those of the case."""
    torch.manual_seed(0)
    layout = memory_format(Layout(case.layout))
    convolution = nn.Conv2d(
        case.inputs, case.outputs, case.kernel, stride=case.stride, padding=case.kernel // 2, bias=case.bias
    )
    lay_out(convolution, Layout(case.layout))
    images = torch.randn(case.batch, case.inputs, case.side, case.side).to(memory_format=layout).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "bf16"):
        output = convolution(images)
    gradient = torch.randn(output.shape).to(output.dtype).to(memory_format=layout)
    output.backward(gradient)
    found = [output.detach(), images.grad, convolution.weight.grad]
    if convolution.bias is not None:
        found.append(convolution.bias.grad)
    return [tensor for tensor in found if tensor is not None]


def expected(case: Case) -> list[Tensor]:
    """The same in float64, from factors rounded as autocast rounds them."""
    kind = torch.bfloat16 if case.precision == "bf16" else torch.float32
    torch.manual_seed(0)
    convolution = nn.Conv2d(
        case.inputs, case.outputs, case.kernel, stride=case.stride, padding=case.kernel // 2, bias=case.bias
    )
    images = torch.randn(case.batch, case.inputs, case.side, case.side).to(kind).double().requires_grad_()
    weight = convolution.weight.detach().to(kind).double().requires_grad_()
    bias = None if convolution.bias is None else convolution.bias.detach().to(kind).double().requires_grad_()
    output = F.conv2d(images, weight, bias, stride=case.stride, padding=case.kernel // 2)
    output.backward(torch.randn(output.shape).to(kind).double())
    found = [output.detach(), images.grad, weight.grad] + ([] if bias is None else [bias.grad])
    return [tensor for tensor in found if tensor is not None]


def examine(case: Case) -> int:
    """Exit status of a case's process; a fault ends it before."""
    torch.set_num_threads(case.threads)
    first, second = compute(case), compute(case)
    if not all(torch.equal(one, other) for one, other in zip(first, second, strict=True)):
        return 105
    for tensor, right in zip(first, expected(case), strict=True):
        error = float((tensor.double() - right).norm() / right.norm().clamp(min=1e-30))
        if not error < TOLERANCE[case.precision]:
            return 104
    return 0


def examine_all() -> None:
    """Read cases from stdin and print each one's exit status; a fork a case, from a process without threads."""
    torch.set_num_threads(1)
    for precision in TOLERANCE:
        # Loads what the first backward pass loads, so that each case does not.
        compute(Case(3, 1, 4, 4, 2, 8, 1, precision, Layout.CONTIGUOUS, True))
    for line in sys.stdin:
        case = Case(*json.loads(line))
        child = os.fork()
        if child == 0:
            signal.alarm(MAX_SECONDS)
            os._exit(examine(case))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def guarded(cases: list[Case], guard: Path) -> list[int]:
    """Exit status of each case, examined under the allocator of guard.c."""
    environment = {**os.environ, "LD_PRELOAD": str(guard), "OMP_WAIT_POLICY": "passive"}
    process = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.convolutions", "--examine"],
        input="".join(json.dumps(case) + "\n" for case in cases),
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        check=True,
    )
    return [int(line) for line in process.stdout.split()]


def build_guard(folder: Path) -> Path:
    """Compile guard.c."""
    library = folder / "guard.so"
    source = Path(__file__).with_name("guard.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def verdict(status: int) -> Verdict:
    """What an exit status means."""
    return EXITS.get(status, Verdict.DIED)


def table(found: Sequence[tuple[Case, Verdict]]) -> str:
    """Count cases by shape, and say what the failing ones have in common."""
    by_shape: defaultdict[tuple[object, ...], Counter[Verdict]] = defaultdict(Counter)
    faults: list[Case] = []
    for case, is_what in found:
        by_shape[case.kernel, case.stride, case.layout, case.precision, case.side, case.inputs][is_what] += 1
        if is_what is not Verdict.RIGHT:
            faults.append(case)
    lines = [
        f"{'kernel':7}{'stride':7}{'layout':22}{'precision':10}{'side':>4}  failing cases of all, by input channels"
    ]
    for shape, group in itertools.groupby(sorted(by_shape), key=lambda key: key[:5]):
        kernel, stride, layout, precision, side = shape
        parts = []
        for key in group:
            counts = by_shape[key]
            failing = sum(counts.values()) - counts[Verdict.RIGHT]
            parts.append(f"{key[5]}: {failing}/{sum(counts.values())}" if failing else f"{key[5]}: -")
        lines.append(f"{kernel!s:7}{stride!s:7}{layout!s:22}{precision!s:10}{side!s:>4}  {'  '.join(parts)}")
    kinds = Counter(verdict_ for counts in by_shape.values() for verdict_ in counts.elements())
    lines.append("verdicts: " + ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())))
    if faults:
        lines.append(f"failing: {len(faults)}; input channels {sorted({case.inputs for case in faults})}")
        lines.append(
            f"  threads {sorted({case.threads for case in faults})}, batches {sorted({case.batch for case in faults})}"
        )
        lines.append(f"  a bias in {sum(case.bias for case in faults)}")
        for divides in (True, False):
            alike = [is_what for case, is_what in found if (case.batch % case.threads == 0) is divides]
            failing = sum(is_what is not Verdict.RIGHT for is_what in alike)
            lines.append(f"  threads {'divide' if divides else 'do not divide'} the batch: {failing} of {len(alike)}")
    return "\n".join(lines)


def main() -> None:
    """Print figures by shape, with conditions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examine", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--shapes", nargs="+", default=["1/2", "1/1", "3/2", "3/1"], help="KERNEL/STRIDE")
    parser.add_argument("--layouts", nargs="+", default=list(Layout), choices=list(Layout))
    parser.add_argument("--cases", type=int, default=400, help="of each shape and layout, drawn with a fixed seed")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("-o", "--output", type=Path, help="write each case that is not right, as JSON lines")
    options = parser.parse_args()
    if options.examine:
        examine_all()
        return
    cases = []
    for layout, shape in itertools.product(options.layouts, options.shapes):
        all_cases = list(grid(*map(int, shape.split("/")), layout))
        cases += random.Random(0).sample(all_cases, min(options.cases, len(all_cases)))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        guard = build_guard(Path(folder))
        with ThreadPoolExecutor(options.jobs) as pool:
            pieces = [cases[index :: options.jobs] for index in range(options.jobs)]
            statuses = list(pool.map(lambda piece: guarded(piece, guard), pieces))
    found = [
        (case, verdict(status))
        for piece, of_piece in zip(pieces, statuses, strict=True)
        for case, status in zip(piece, of_piece, strict=True)
    ]
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}; {len(cases)} cases in", end=" ")
    print(f"{time.monotonic() - began:.0f} s")
    print(table(found))
    if options.output is not None:
        bad = [[*case, is_what] for case, is_what in found if is_what is not Verdict.RIGHT]
        options.output.write_text("".join(json.dumps(line) + "\n" for line in bad))


if __name__ == "__main__":
    main()
