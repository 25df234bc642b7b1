"""`depthscope bench`: both loops take turns, and failures are reported."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from console.programs.bench import LoopProcess, NetworkResult, bench_table
from engine.control.messages import Loop, Task
from engine.spec.devices import CPU
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from models import cost
from models.build import build_model
from models.catalog import model_spec

SPEC = RunSpec(model=model_spec("he-resnet", 8, width=4), recipe=recipe("quick", batch_size=50))


@pytest.mark.slow
def test_bench_times_both_loops_and_prints_their_ratio(bare_home: Any):
    """The ratio is that of the medians; the share is of the matrix rate."""
    said = bare_home.json("bench", "-d", "8", "--width", "4", "--trials", "2", "--seconds", "0.2")
    (network,) = said["networks"]
    ours, textbook = network["depthscope"], network["textbook"]

    assert len(ours["images_per_second"]) == len(textbook["images_per_second"]) == said["trials"] == 2
    assert network["ratio"] == pytest.approx(ours["median_images_per_second"] / textbook["median_images_per_second"])
    macs = 3 * cost.forward_macs(model_spec("he-resnet", 8, width=4))
    share = ours["median_images_per_second"] * macs / network["matmul_macs_per_second"]
    assert network["share_of_matmul"] == pytest.approx(share)
    assert textbook["ready"]["precision"] == "fp32"
    assert ours["peak_memory_bytes"] > 0
    assert bare_home.engine_pid() is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-a", "rsnet"), "unknown architecture 'rsnet'"),
        (("-d", "21"), "depth 21 does not exist for he-resnet"),
        (("--precision", "fp8"), "precision must be one of auto, fp32"),
        (("--precision", "tf32", "--device", "cpu"), "precision tf32 is not native to cpu"),
        (("--device", "cuda:9"), "device must be one of"),
        (("--batch-size", "0"), "batch_size must be at least 1, got 0"),
    ],
)
def test_bench_refuses_what_cannot_be_timed(bare_home: Any, words: tuple[str, ...], message: str):
    """One line and status 2, before any loop starts."""
    assert message in bare_home.cli("bench", *words, status=2)


@pytest.mark.slow
def test_a_failing_loop_is_reported_with_the_other_ones_result():
    """Here, a precision the processor does not support."""
    spec = msgspec.structs.replace(SPEC, recipe=recipe("quick", precision="tf32"))
    failed = LoopProcess(Task(loop=Loop.DEPTHSCOPE, spec=spec, num_images=100), CPU)
    fine = LoopProcess(Task(loop=Loop.TEXTBOOK, spec=spec, num_images=100), CPU)
    try:
        for process in (failed, fine):
            process.turn(0.1)
    finally:
        for process in (failed, fine):
            process.end()
    result = NetworkResult("net", spec, failed.result, fine.result, None, None)

    assert "tf32 is not native" in str(failed.result.error)
    assert fine.result.median is not None
    assert (result.ratio, result.share_of_matmul) == (None, None)
    assert "failed" in bench_table([result])


@pytest.mark.slow
def test_the_textbook_loop_learns():
    """A valid baseline has to train: it memorises a few images."""
    # Imported here: it imports torchvision, which takes longer to load than collecting all tests.
    from engine.programs.textbook import TextbookLoop

    generator = np.random.default_rng(0)
    images = np.repeat(generator.integers(0, 256, (4, 1, 1, 3), dtype=np.uint8), 32, axis=1).repeat(32, axis=2)
    torch.manual_seed(0)
    loop = TextbookLoop(
        build_model(SPEC.model), recipe("quick", batch_size=4), images, np.arange(4), torch.device("cpu")
    )
    sizes = [loop.step() for _ in range(2)]
    first = loop.train_loss
    for _ in range(30):
        loop.step()

    assert sizes == [4, 4]
    assert loop.train_loss < 0.5 * first
