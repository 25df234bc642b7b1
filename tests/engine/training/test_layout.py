"""Memory layouts: narrow projections never reach the kernel that overruns its buffer, and compute the same terms."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.estimates.memory import used_precision
from engine.spec import precision
from engine.spec.precision import Layout, Precision
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training import layout, numerics
from engine.training.checkpoint import LoadedCheckpoint
from engine.training.layout import choose, is_unsafe, lay_out, memory_format, to_keep, unsafe_convolutions
from engine.training.session import checkpoint_state, newest_checkpoint, restore, save, settle_save, state_for
from engine.training.step import Batch, TrainingState, start_training, train_step
from models.build import build_model
from models.catalog import ModelSpec, label, model_spec
from tests.benchmarks.convolutions import Case, Verdict, build_guard, grid, guarded, verdict
from tests.engine.training.test_gradients import a_session

CPU = torch.device("cpu")
NARROW = [
    model_spec(architecture, None, blocks=(1, 1, 1, 1), block=block, width=width)
    for architecture, block, width in (
        ("resnet", "basic", 8),
        ("preact", "basic", 8),
        ("plain", "basic", 8),
        ("resnet", "basic", 3),
        ("resnet", "bottleneck", 3),
        ("preact", "bottleneck", 3),
    )
]


def a_spec(model: ModelSpec, **options: Any) -> RunSpec:
    return RunSpec(model=model, recipe=recipe("quick", **options))


def a_batch(size: int, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(size, 3, 32, 32, generator=generator).to(dtype)
    return Batch(images, torch.randint(0, 10, (size,), generator=generator))


@pytest.mark.parametrize(
    ("architecture", "depth", "width", "chosen"),
    [
        ("resnet", 18, 8, Layout.CHANNELS_LAST_SLICED),
        ("preact", 18, 15, Layout.CHANNELS_LAST_SLICED),
        ("resnet", 50, 3, Layout.CHANNELS_LAST_SLICED),
        ("resnet", 50, 4, Layout.CHANNELS_LAST),
        ("resnet", 18, 16, Layout.CHANNELS_LAST),
        ("plain", 18, 8, Layout.CHANNELS_LAST),
        ("he-resnet", 8, 8, Layout.CHANNELS_LAST),
    ],
)
def test_networks_with_narrow_projections_slice_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, architecture: str, depth: int, width: int, chosen: Layout
):
    """`auto` is bf16 for all of them; in fp32 every network is contiguous, and a GPU has other kernels."""
    monkeypatch.setattr(precision, "of_cpu", lambda: precision.CPU_WITH_BF16)
    spec = a_spec(model_spec(architecture, depth, width=width))
    model = build_model(spec.model)

    assert numerics.resolve(spec, CPU) == used_precision(spec, precision.CPU_WITH_BF16) == Precision.BF16
    assert start_training(spec, CPU).layout is choose(model, Precision.BF16, CPU) is chosen
    assert choose(model, Precision.FP32, CPU) is Layout.CONTIGUOUS
    assert choose(model, Precision.BF16, torch.device("cuda")) is Layout.CHANNELS_LAST


class Convolutions(TorchDispatchMode):
    """Note the weight, stride and layout of each convolution's forward and backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], tuple[int, ...], bool]] = []

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = str(function)
        if name.startswith(("aten.convolution.", "aten.convolution_backward.")):
            first = 1 if "backward" in name else 0
            images, weight, stride = args[first], args[first + 1], args[first + 3]
            last = any(part.is_contiguous(memory_format=torch.channels_last) for part in (images, weight))
            self.seen.append((tuple(weight.shape), tuple(stride), last))
        return function(*args, **(kwargs or {}))

    def faulty(self) -> list[tuple[int, ...]]:
        """Shapes of the weights that reach the strided kernel."""
        return [
            weight
            for weight, stride, last in self.seen
            if last and weight[2:] == (1, 1) and stride != (1, 1) and weight[1] < layout.SAFE_CHANNELS
        ]


@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("model", NARROW, ids=label)
def test_no_narrow_convolution_strides_in_channels_last(model: ModelSpec, checkpointed: bool):
    """In a step of training in bf16, on the tensors that torch hands to oneDNN."""
    state = start_training(a_spec(model, checkpoint_activations=checkpointed), CPU, precision=Precision.BF16)
    with Convolutions() as convolutions:
        train_step(state, a_batch(4), learning_rate=0.1)

    assert convolutions.seen
    assert convolutions.faulty() == []


@pytest.mark.parametrize("model", [model for model in NARROW if model.architecture != "plain"], ids=label)
def test_without_slicing_such_a_network_reaches_the_kernel(model: ModelSpec):
    """Shows that the test above can fail; one thread is safe."""
    state = start_training(a_spec(model), CPU, precision=Precision.BF16, keep_layout=Layout.CHANNELS_LAST)
    with Convolutions() as convolutions:
        train_step(state, a_batch(4), learning_rate=0.1)

    assert convolutions.faulty()


@pytest.mark.parametrize("inputs", [1, 3, 8, 15])
@pytest.mark.parametrize("bias", [False, True])
def test_slicing_computes_the_strided_convolution_in_float64(inputs: int, bias: bool):
    """Output and gradients, for odd and even sides."""
    for side in (7, 16):
        found = []
        for sliced in (True, False):
            torch.manual_seed(0)
            convolution = nn.Conv2d(inputs, 2 * inputs, 1, stride=2, bias=bias).double()
            assert is_unsafe(convolution)
            if sliced:
                lay_out(convolution, Layout.CHANNELS_LAST_SLICED)
            images = torch.randn(5, inputs, side, side, dtype=torch.float64, requires_grad=True)
            output = convolution(images)
            output.square().sum().backward()
            found.append([output, images.grad, *(parameter.grad for parameter in convolution.parameters())])
        for ours, expected in zip(*found, strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def gradients(model: ModelSpec, used: Layout, kind: Precision, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Gradients of all parameters for one batch whose size no number of threads divides."""
    torch.manual_seed(0)
    network = build_model(model).to(dtype)
    lay_out(network, used)
    batch = a_batch(25, dtype)
    with numerics.computing(kind, CPU):
        logits = network(batch.images.to(memory_format=memory_format(used)))
    F.cross_entropy(logits.to(dtype), batch.labels).backward()
    return [parameter.grad.double() for parameter in network.parameters() if parameter.grad is not None]


def distances(found: list[Tensor], right: list[Tensor]) -> list[float]:
    """Relative error of each gradient."""
    return [float((ours - theirs).norm() / theirs.norm()) for ours, theirs in zip(found, right, strict=True)]


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Threads that do not divide a batch of 25."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def smooth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smooth activation: rounding may switch a ReLU on or off, which moves gradients by far more than rounding."""
    monkeypatch.setattr(F, "relu", F.silu)


@pytest.mark.usefixtures("three_threads", "smooth")
@pytest.mark.parametrize("model", NARROW, ids=label)
def test_gradients_of_narrow_networks_are_those_of_float64(model: ModelSpec):
    """To rounding in float32; in bfloat16 no further away than in the contiguous layout."""
    right = gradients(model, Layout.CONTIGUOUS, Precision.FP32, torch.float64)
    chosen = choose(build_model(model), Precision.BF16, CPU)

    assert max(distances(gradients(model, chosen, Precision.FP32), right)) < 2e-4
    layouts = (chosen, Layout.CONTIGUOUS)
    ours, contiguous = (distances(gradients(model, used, Precision.BF16), right) for used in layouts)
    assert sum(ours) < 1.2 * sum(contiguous)
    assert max(ours) < 2 * max(contiguous)


@pytest.mark.usefixtures("three_threads", "smooth")
@pytest.mark.parametrize("model", NARROW, ids=label)
def test_weights_of_narrow_networks_follow_float64(model: ModelSpec):
    """Over four steps, in the layout of bf16, with momentum and weight decay."""
    types = (torch.float32, torch.float64)
    states = [start_training(a_spec(model), CPU, dtype=dtype, precision=Precision.FP32) for dtype in types]
    lay_out(states[0].model, choose(states[0].model, Precision.BF16, CPU))
    for state, dtype in zip(states, types, strict=True):
        for _ in range(4):
            train_step(state, a_batch(25, dtype), learning_rate=0.01)
    ours, right = ([parameter.detach().double() for parameter in state.model.parameters()] for state in states)

    assert max(distances(ours, right)) < 1e-3


def saved_by(state: TrainingState, **changes: Any) -> dict[str, Any]:
    """What a checkpoint says about how a run computes; None leaves a key out, as earlier versions did."""
    saved = {"precision": state.precision.value, "layout": state.layout.value, "num_threads": 1, **changes}
    return {key: value for key, value in saved.items() if value is not None}


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ({"precision": "fp32", "layout": None}, (Precision.FP32, Layout.CONTIGUOUS)),
        ({"layout": None}, (Precision.BF16, Layout.CHANNELS_LAST)),
        ({"layout": None, "num_threads": 3}, (Precision.BF16, Layout.CHANNELS_LAST_SLICED)),
        ({}, (Precision.BF16, Layout.CHANNELS_LAST_SLICED)),
        ({"layout": "channels-last", "num_threads": 1}, (Precision.BF16, Layout.CHANNELS_LAST_SLICED)),
    ],
    ids=["earlier auto", "earlier bf16", "earlier bf16, threads", "now", "from a GPU"],
)
def test_a_resumed_run_computes_as_it_began(
    monkeypatch: pytest.MonkeyPatch, saved: dict[str, Any], expected: tuple[Precision, Layout]
):
    """Earlier versions took fp32 for `auto`; if asked, bf16 with the strided kernel, which only one thread survives."""
    monkeypatch.setattr(precision, "of_cpu", lambda: precision.CPU_WITH_BF16)
    spec = a_spec(model_spec("resnet", 18, width=8))
    loaded = LoadedCheckpoint(saved_by(start_training(spec, CPU), **saved), None)
    state = state_for(spec, CPU, loaded, None)

    assert (state.precision, state.layout) == expected
    assert state.optimizer.fused is (state.precision is not Precision.FP32)


def test_a_run_that_fell_back_is_contiguous_whatever_it_saved(monkeypatch: pytest.MonkeyPatch):
    """An explicit bf16 does not hold once it has crashed."""
    monkeypatch.setattr(precision, "of_cpu", lambda: precision.CPU_WITH_BF16)
    spec = a_spec(model_spec("resnet", 18, width=8), precision=Precision.BF16)
    for loaded in (None, LoadedCheckpoint(saved_by(start_training(spec, CPU)), None)):
        state = state_for(spec, CPU, loaded, Precision.FP32)

        assert (state.precision, state.layout) == (Precision.FP32, Layout.CONTIGUOUS)


def test_a_sliced_run_that_was_interrupted_ends_with_the_same_weights(tmp_path: Path):
    """Its checkpoint names the layout."""
    spec = a_spec(model_spec("resnet", None, blocks=(1, 1, 1, 1), width=4), batch_size=50, epochs=1, precision="bf16")
    states = []
    for name, stops in (("whole", False), ("stopped", True)):
        session = a_session(tmp_path / name, spec)
        assert checkpoint_state(session, [])["layout"] == "channels-last-sliced"
        for index in range(3):
            if stops and index == 2:
                save(session)
                settle_save(session)
                loaded = newest_checkpoint(session.run)
                session = a_session(tmp_path / name, spec)
                session.state = state_for(spec, CPU, loaded, None)
                assert restore(session, loaded)
            train_step(session.state, a_batch(10 + index), learning_rate=0.1)
        states.append(session.state)
    whole, resumed = (state.model.state_dict() for state in states)

    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


OVERRUN = """
import ctypes, torch
block = torch.zeros(1000)
ctypes.memset(block.data_ptr() + 4000, 1, {count})
"""


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler on Linux")
    return build_guard(tmp_path_factory.mktemp("guard"))


@pytest.mark.slow
def test_the_guard_notices_one_byte_too_many(guard: Path):
    """At once beyond the padding to 64 bytes, within it when the block is freed."""
    for count, status in ((0, 0), (1, 101), (100, 101)):
        ended = subprocess.run(
            [sys.executable, "-c", OVERRUN.format(count=count) + "del block"], env={"LD_PRELOAD": str(guard)}
        )
        assert ended.returncode == status


@pytest.mark.slow
def test_no_surviving_shape_writes_too_far_or_computes_wrong_numbers(guard: Path, figure: Callable[[str], None]):
    """Every sixtieth case of the sweep, as networks compute it; the strided kernel itself for comparison."""
    cases = [
        case
        for used in (Layout.CONTIGUOUS, Layout.CHANNELS_LAST_SLICED)
        for kernel, stride in ((1, 1), (1, 2), (3, 1), (3, 2))
        for case in list(grid(kernel, stride, used))[::60]
    ]
    faults = [(case, verdict(status)) for case, status in zip(cases, guarded(cases, guard), strict=True) if status]
    strided = [Case(1, 2, 8, 16, 25, side, 2, "bf16", Layout.CHANNELS_LAST, False) for side in (16, 32)]
    num_wrong = sum(verdict(status) is not Verdict.RIGHT for status in guarded(strided, guard))
    figure(
        f"{len(cases) - len(faults)} of {len(cases)} cases right; {num_wrong} of 2 that stride in channels last fail"
    )

    assert faults == []


def test_unsafe_convolutions_are_narrow_projections():
    """Not the stem, not 3×3 convolutions, not the stride-1 projection of a bottleneck's first stage."""
    model = build_model(model_spec("resnet", None, blocks=(1, 1, 1, 1), block="bottleneck", width=3))
    unsafe = set(unsafe_convolutions(model))
    names = [name for name, module in model.named_modules() if module in unsafe]

    assert names == ["stages.1.0.shortcut.conv"]
    assert to_keep({"num_threads": 1}) is Layout.CHANNELS_LAST


def test_slicing_returns_a_gradient_in_channels_last():
    """As the strided kernel does; otherwise the normalisation before it sums its gradient in bfloat16."""
    convolution = nn.Conv2d(8, 16, 1, stride=2, bias=False)
    lay_out(convolution, Layout.CHANNELS_LAST_SLICED)
    images = torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last).requires_grad_()
    convolution(images).sum().backward()

    assert images.grad is not None
    assert images.grad.is_contiguous(memory_format=torch.channels_last)
