"""Layer norms equal plain autograd's, need no extra pass, and are reported exactly once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engine.runs.directory import ExitReason, FileName, Labels, RunDirectory
from engine.runs.journal import Epoch, Gradients, LayerGradients, read_journal
from engine.runs.open_run import OpenRun
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training.gradients import layers, measure, norms, weight_norms
from engine.training.loop import train
from engine.training.numerics import LossScale
from engine.training.session import Session, newest_checkpoint, restore
from engine.training.step import Batch, TrainingState, start_training, train_step, update
from models.build import build_model
from models.catalog import ModelSpec, model_spec
from tests.engine.training.test_step import random_data

RATE = 0.05


def a_spec(model: ModelSpec, **changes: object) -> RunSpec:
    used = recipe("quick", **{"epochs": 2, "batch_size": 50, "precision": "fp32", "augment": False, **changes})
    return RunSpec(model=model, recipe=used, seed=2)


def a_batch(seed: int) -> Batch:
    draws = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(8, 3, 32, 32, generator=draws), torch.randint(0, 10, (8,), generator=draws))


@pytest.mark.parametrize(
    ("architecture", "depth", "expected"),
    [
        ("he-plain", 8, ["stem", "stage1.block1.conv1", "stage1.block1.conv2", "stage2.block1.conv1"]),
        ("resnet", 18, ["stem", "stage1.block1.conv1", "stage1.block1.conv2", "stage1.block2.conv1"]),
        ("preact", 18, ["stem", "stage1.block1.conv1", "stage1.block1.conv2", "stage1.block2.conv1"]),
    ],
)
def test_every_convolution_and_the_head_is_named_from_the_stem_on(architecture: str, depth: int, expected: list[str]):
    """Stages and blocks count from 1."""
    model = build_model(model_spec(architecture, depth, width=4))
    named = layers(model)
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]

    assert [layer.name for layer in named[:4]] == expected
    assert named[-1].name == "head"
    assert len({layer.name for layer in named}) == len(named) == len(weights)
    assert all(layer.weight is weight for layer, weight in zip(named, weights, strict=True))
    projections = [layer.name for layer in named if "shortcut" in layer.name]
    with_new_shape = ["stage2.block1.shortcut", "stage3.block1.shortcut", "stage4.block1.shortcut"]
    assert projections == ([] if architecture == "he-plain" else with_new_shape)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_norms_are_those_of_plain_autograd_and_the_update_that_of_the_weights(momentum: float):
    """Compared with torch.autograd.grad and weight differences after two steps, with momentum built up."""
    spec = a_spec(model_spec("he-plain", 8, width=4), momentum=momentum, weight_decay=0.01)
    state = start_training(spec, torch.device("cpu"))
    measured = layers(state.model)
    train_step(state, a_batch(0), learning_rate=0.1)
    before = [layer.weight.detach().double().clone() for layer in measured]
    batch = a_batch(1)
    loss = F.cross_entropy(state.model(batch.images), batch.labels)
    expected = torch.autograd.grad(loss, [layer.weight for layer in measured])
    train_step(state, batch, learning_rate=RATE)
    gradient, weight, ratio = measure(state, measured, learning_rate=RATE)
    after = [layer.weight.detach().double() for layer in measured]

    torch.testing.assert_close(gradient, torch.stack([g.double().norm() for g in expected]), rtol=1e-4, atol=0)
    torch.testing.assert_close(weight, torch.stack([w.norm() for w in after]), rtol=1e-4, atol=0)
    moved = [(new - old).norm() / new.norm() for old, new in zip(before, after, strict=True)]
    torch.testing.assert_close(ratio, torch.stack(moved), rtol=1e-4, atol=0)


def test_the_first_step_records_the_initial_weights():
    """At initialisation, the weight norm is that before the update."""
    state = start_training(a_spec(model_spec("he-plain", 8, width=4)), torch.device("cpu"))
    measured = layers(state.model)
    initial = [layer.weight.detach().norm().item() for layer in measured]
    before = weight_norms(measured)
    train_step(state, a_batch(0), learning_rate=10.0)
    values = measure(state, measured, learning_rate=10.0, weights_before=before)

    assert values[1].tolist() == pytest.approx(initial, rel=1e-5)
    assert measure(state, measured, learning_rate=10.0)[1].tolist() != pytest.approx(initial, rel=0.1)


def test_gradients_that_float32_cannot_square_have_their_norm():
    """In float32, 1e-30 squared is zero and 1e30 squared infinite."""
    tensors = [torch.full((4,), value) for value in (1e-30, 1.0, 1e30, 0.0, float("inf"))]

    assert norms(tensors).tolist() == pytest.approx([2e-30, 2.0, 2e30, 0.0, float("inf")], rel=1e-6)


def test_a_scaled_loss_is_reported_unscaled_and_a_skipped_step_updates_nothing():
    """In float16 the loss is scaled by thousands; an overflow skips the whole update."""
    spec = a_spec(model_spec("he-plain", 8, width=4))
    plain, scaled = (start_training(spec, torch.device("cpu")) for _ in range(2))
    scaled.loss_scale = LossScale.start(torch.device("cpu"))
    for state in (plain, scaled):
        train_step(state, a_batch(0), learning_rate=RATE)
    expected, found = (measure(state, layers(state.model), learning_rate=RATE) for state in (plain, scaled))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)

    scaled.loss_scale.factor.fill_(float("inf"))
    train_step(scaled, a_batch(1), learning_rate=RATE)
    gradient, _, ratio = measure(scaled, layers(scaled.model), learning_rate=RATE)
    assert not gradient.isfinite().all()
    assert ratio.isnan().all()


def test_gradients_kept_in_place_are_the_same_gradients():
    """A second CUDA graph keeps them at the first one's addresses, with equal values."""
    spec = a_spec(model_spec("he-plain", 8, width=4))
    states = [start_training(spec, torch.device("cpu")) for _ in range(2)]
    for state in states:
        update(state, a_batch(0))
    places = [parameter.grad.data_ptr() for parameter in states[1].model.parameters() if parameter.grad is not None]
    update(states[0], a_batch(1))
    update(states[1], a_batch(1), keeps_gradients=True)

    new, kept = ([parameter.grad for parameter in state.model.parameters()] for state in states)
    assert all(map(torch.equal, new, kept))
    assert [gradient.data_ptr() for gradient in kept if gradient is not None] == places


def a_session(path: Path, spec: RunSpec) -> Session:
    directory = RunDirectory(path / "0123456789")
    directory.create(spec, Labels(name="a", experiment="b", position=0, created_at=0.0))
    state = start_training(spec, torch.device("cpu"))
    run = OpenRun.open(directory)
    return Session(run, random_data(), state, run.open_journal(), data_sha256="d")


def journal_of(session: Session) -> Path:
    return session.run.folder.path / FileName.JOURNAL


def gradients(session: Session) -> list[Gradients]:
    return [e for e in read_journal(journal_of(session)).events if isinstance(e, Gradients)]


def values(rows: list[Gradients]) -> list[tuple[int, int, list[LayerGradients]]]:
    """Return all fields except seq and time."""
    return [(row.epoch, row.step, row.layers) for row in rows]


SPEC = a_spec(model_spec("he-plain", 8, width=4))


def test_a_run_reports_every_epoch_and_the_network_as_initialised(tmp_path: Path):
    """After the row of its epoch; the first are those of the first batch, before any update."""
    session = a_session(tmp_path / "run", SPEC)
    weights = weight_norms(session.layers).tolist()

    assert train(session, lambda: False) is ExitReason.SUCCEEDED
    events = [e for e in read_journal(journal_of(session)).events if isinstance(e, Gradients | Epoch)]
    assert [(type(e), e.epoch, e.step) for e in events] == [
        (Gradients, 0, 1), (Epoch, 1, 3), (Gradients, 1, 3), (Epoch, 2, 6), (Gradients, 2, 6)
    ]  # fmt: skip
    initial = gradients(session)[0].layers
    assert [layer.name for layer in initial] == [layer.name for layer in session.layers]
    assert [layer.weight_norm for layer in initial] == weights
    last = measure(session.state, session.layers, learning_rate=session.steps._rates[-1])  # type: ignore[attr-defined]
    assert [layer.gradient_norm for layer in gradients(session)[-1].layers] == last[0].tolist()


class StopAt:
    """Requests a stop at the n-th call."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.mark.parametrize("place", range(8))
def test_a_run_stopped_anywhere_reports_the_same_gradients_once(tmp_path: Path, place: int):
    """Between steps, and during an evaluation, when the gradients are lost with their worker."""
    undisturbed = a_session(tmp_path / "undisturbed", SPEC)
    train(undisturbed, lambda: False)
    stopped = a_session(tmp_path / "run", SPEC)
    assert train(stopped, StopAt(place)) is ExitReason.STOPPED
    stopped.journal.close()
    successor = a_session(tmp_path / "run", SPEC)
    assert restore(successor, newest_checkpoint(successor.run))

    assert train(successor, lambda: False) is ExitReason.SUCCEEDED
    assert values(gradients(successor)) == values(gradients(undisturbed))


@pytest.mark.parametrize("num_kept", [0, 1, 2])
def test_rows_lost_in_a_kill_are_completed_from_the_checkpoint(tmp_path: Path, num_kept: int):
    """As after a kill between the rows of an epoch."""
    session = a_session(tmp_path / "run", SPEC)
    with pytest.raises(RuntimeError):
        train(session, fail_in_epoch(session, 2))
    lines = journal_of(session).read_bytes().splitlines(keepends=True)
    kinds = [msgspec.json.decode(line)["kind"] for line in lines]
    assert [kind for kind in kinds if kind != "step"] == ["gradients", "epoch", "gradients", "checkpoint"]
    journal_of(session).write_bytes(b"".join(lines[: kinds.index("epoch") + num_kept]))
    successor = a_session(tmp_path / "run", SPEC)

    assert restore(successor, newest_checkpoint(successor.run))
    events = read_journal(journal_of(session)).events
    assert [e.epoch for e in events if isinstance(e, Gradients)] == [0, 1]
    assert [e.epoch for e in events if isinstance(e, Epoch)] == [1]
    assert [event.seq for event in events] == list(range(len(events)))


def fail_in_epoch(session: Session, epoch: int):
    """Return a stop check that raises at the start of an epoch, unlike a normal stop."""

    def should_stop() -> bool:
        if session.state.next_step >= (epoch - 1) * session.steps_per_epoch and not session.is_epoch_complete():
            raise RuntimeError("killed")
        return False

    return should_stop


def test_a_first_step_taken_again_is_not_reported_again(tmp_path: Path):
    """Killed before the first checkpoint, a run starts over in the same journal."""
    first = a_session(tmp_path / "run", SPEC)

    def should_stop() -> bool:
        if first.state.next_step == 2:
            raise RuntimeError("killed")
        return False

    with pytest.raises(RuntimeError):
        train(first, should_stop)
    assert [row.epoch for row in gradients(first)] == [0]
    successor = a_session(tmp_path / "run", SPEC)
    assert not restore(successor, newest_checkpoint(successor.run))

    train(successor, lambda: False)
    assert [row.epoch for row in gradients(successor)] == [0, 1, 2]


def test_a_network_that_explodes_in_its_first_step_reports_how(tmp_path: Path):
    """No epoch completes, but the gradients show why; non-finite numbers are None."""
    session = a_session(tmp_path / "run", a_spec(model_spec("he-plain", 8, width=4), learning_rate=1e30))

    assert train(session, lambda: False) is ExitReason.DIVERGED
    (row,) = gradients(session)
    assert row.epoch == 0
    assert all(layer.gradient_norm for layer in row.layers)


def test_without_normalisation_the_gradient_changes_with_depth(tmp_path: Path):
    """torch's initialisation shrinks signals in every layer, forwards and backwards."""
    stems = {}
    for depth in (18, 34):
        session = a_session(tmp_path / str(depth), a_spec(model_spec("plain", depth, width=4, norm="none"), epochs=1))
        train(session, lambda: False)
        stems[depth] = gradients(session)[0].layers[0].gradient_norm or 0.0

    assert 0 < stems[34] < 1e-3 * stems[18]


def test_norms_of_state_without_a_step_are_refused():
    """There are no gradients yet."""
    state: TrainingState = start_training(SPEC, torch.device("cpu"))
    with pytest.raises(AssertionError, match="a step comes first"):
        measure(state, layers(state.model), learning_rate=RATE)
