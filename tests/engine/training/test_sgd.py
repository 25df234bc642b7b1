"""Our SGD matches torch.optim.SGD in results and file format, and loads no compiler."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runs.directory import ExitReason, Labels, RunDirectory
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import DataSpec, RunSpec
from engine.training import numerics
from engine.training.sgd import SGD
from models.build import build_model
from models.catalog import model_spec

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
RATES = (0.1, 0.1, 0.05, 0.01)


def a_network() -> nn.Module:
    torch.manual_seed(1)
    return build_model(model_spec("he-resnet", 8, width=4))


def ours(model: nn.Module, **changes: Any) -> SGD:
    options: dict[str, Any] = {"momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY, "fused": False, **changes}
    return SGD(model.parameters(), learning_rate=RATES[0], **options)


def torchs(model: nn.Module, **changes: Any) -> torch.optim.SGD:
    options: dict[str, Any] = {"momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY, "fused": False, **changes}
    return torch.optim.SGD(model.parameters(), lr=RATES[0], **options)


def take_steps(
    model: nn.Module, optimizer: SGD | torch.optim.SGD, rates: tuple[float, ...], precision: Precision
) -> None:
    """Take steps on the same noise each time."""
    generator = torch.Generator().manual_seed(2)
    for rate in rates:
        images = torch.randn(16, 3, 32, 32, generator=generator)
        labels = torch.randint(0, 10, (16,), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        with numerics.computing(precision, images.device):
            logits: Tensor = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        if isinstance(optimizer, SGD):
            optimizer.learning_rate = rate
        else:
            optimizer.param_groups[0]["lr"] = rate
        optimizer.step()


def are_equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("changes", [{}, {"momentum": 0.0}, {"weight_decay": 0.0}])
def test_weights_equal_those_of_torch(precision: Precision, fused: bool, changes: dict[str, float]):
    """Bit-identical after several steps at changing rates, since it calls the same function."""
    mine, theirs = a_network(), a_network()
    take_steps(mine, ours(mine, fused=fused, **changes), RATES, precision)
    take_steps(theirs, torchs(theirs, fused=fused, **changes), RATES, precision)

    assert are_equal(mine, theirs)
    assert not are_equal(mine, a_network())


@pytest.mark.parametrize(("begin", "resume"), [(torchs, ours), (ours, torchs)])
def test_momentum_goes_from_torch_to_us_and_back(begin: Callable[..., Any], resume: Callable[..., Any]):
    """Runs with checkpoints from torch.optim.SGD resume exactly, and ours keep its format."""
    undisturbed, resumed = a_network(), a_network()
    before = begin(undisturbed)
    take_steps(undisturbed, before, RATES[:2], Precision.FP32)
    resumed.load_state_dict(undisturbed.state_dict())
    after = resume(resumed)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    take_steps(undisturbed, before, RATES[2:], Precision.FP32)
    take_steps(resumed, after, RATES[2:], Precision.FP32)

    assert are_equal(undisturbed, resumed)
    assert before.state_dict()["param_groups"][0].keys() == after.state_dict()["param_groups"][0].keys()


def test_a_skipped_first_step_leaves_no_momentum():
    """The next step then acts as the first; torch's would start from uninitialised memory."""
    skipping, fresh = a_network(), a_network()
    optimizer = ours(skipping, fused=True)
    for parameter in skipping.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(found_inf=torch.ones(()))
    assert are_equal(skipping, fresh)
    take_steps(skipping, optimizer, RATES, Precision.FP32)
    take_steps(fresh, torchs(fresh, fused=True), RATES, Precision.FP32)

    assert are_equal(skipping, fresh)


def test_steps_leave_momentum_where_it_is():
    """CUDA graphs use it at the addresses it had when they were captured."""
    model = a_network()
    optimizer = ours(model, fused=True)
    optimizer.add_missing_buffers()
    places = [buffer.data_ptr() for buffer in optimizer.momentum_buffers.values()]
    take_steps(model, optimizer, RATES, Precision.FP32)

    assert [buffer.data_ptr() for buffer in optimizer.momentum_buffers.values()] == places
    assert len(places) == len(list(model.parameters()))


TRAINING = """
import sys
from engine import worker

for sys.argv[1] in sys.argv[2:]:
    assert worker.main() == 0
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def test_a_worker_loads_no_compiler(home: Any):
    """torch._dynamo and sympy would cost every run over a second; in float32 and the device's own precision."""
    directories = []
    for number, precision in enumerate((Precision.FP32, Precision.AUTO)):
        spec = RunSpec(
            model=model_spec("he-resnet", 8, width=4, num_classes=4),
            data=DataSpec(name="tiny"),
            recipe=recipe("constant", epochs=1, batch_size=50, precision=precision),
        )
        directories.append(RunDirectory(home.home.runs / f"{number:010x}"))
        directories[-1].create(spec, Labels(name="a", experiment="b", position=0, created_at=0.0))
    command = [sys.executable, "-P", "-c", TRAINING, "", *(str(directory.path) for directory in directories)]
    found = subprocess.run(command, env=home.env, check=True, capture_output=True, text=True)

    assert found.stdout.strip() == "[]"
    for directory in directories:
        ended = directory.read_exit()
        assert ended is not None
        assert ended.reason is ExitReason.SUCCEEDED
