"""The fast path matches the textbook loop."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
import torch
from torch import Tensor, nn

from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.spec.schedule import learning_rate_at
from engine.training.augmentation import EpochDraws
from engine.training.step import (
    Batch,
    DeviceData,
    TrainingState,
    diverged_at,
    evaluate,
    start_training,
    train_step,
    training_batch,
)
from models.build import build_model
from models.catalog import model_spec

MEAN, STD = (0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616)
NUM_TRAIN, BATCH_SIZE, NUM_STEPS = 150, 16, 20


def random_data(device: str = "cpu") -> DeviceData:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (NUM_TRAIN + 50, 32, 32, 3), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(0, 10, (NUM_TRAIN + 50,), generator=generator).to(device)
    return DeviceData(
        images[:NUM_TRAIN], labels[:NUM_TRAIN], images[NUM_TRAIN:], labels[NUM_TRAIN:], mean=MEAN, std=STD
    )


def a_spec(architecture: str, depth: int, **changes: object) -> RunSpec:
    spec = RunSpec(
        model=model_spec(architecture, None, blocks=(1,) * ((depth - 2) // 2), width=4),
        recipe=recipe("reference", epochs=2, batch_size=BATCH_SIZE, precision="fp32"),
        seed=3,
    )
    return msgspec.structs.replace(spec, **changes)


def to_tensor(image: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert like torchvision's ToTensor for PIL images: divide by 255."""
    return image.to(dtype).div(255)


@dataclass
class Textbook:
    """The usual loop: per-image transforms, torch.optim.SGD, nn.CrossEntropyLoss, item()."""

    spec: RunSpec
    data: DeviceData
    dtype: torch.dtype

    def image(self, index: int, offset: Tensor, flip: bool) -> Tensor:
        # Imported here: it imports torch's compiler, which takes longer than collecting all tests.
        import torchvision.transforms.functional as TF

        image = self.data.train_images[index].permute(2, 0, 1)
        image = TF.crop(TF.pad(image, [4, 4, 4, 4]), int(offset[0]), int(offset[1]), 32, 32)
        image = TF.hflip(image) if flip else image
        return TF.normalize(to_tensor(image, self.dtype), MEAN, STD)

    def losses(self, num_steps: int) -> list[float]:
        torch.manual_seed(self.spec.seed)
        model = build_model(self.spec.model).to(self.dtype)
        options = self.spec.recipe
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.1, momentum=options.momentum, weight_decay=options.weight_decay, fused=False
        )
        criterion = nn.CrossEntropyLoss()
        per_epoch = self.spec.steps_per_epoch(NUM_TRAIN)
        found = []
        for step in range(num_steps):
            epoch, index = divmod(step, per_epoch)
            draws = EpochDraws.draw(self.spec.seed, epoch, NUM_TRAIN)
            places = range(index * BATCH_SIZE, min((index + 1) * BATCH_SIZE, NUM_TRAIN))
            chosen = [int(draws.permutation[place]) for place in places]
            images = torch.stack(
                [
                    self.image(image, draws.offsets[place], bool(draws.flips[place]))
                    for image, place in zip(chosen, places, strict=True)
                ]
            )
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, options, total_steps=per_epoch * options.epochs)
            optimizer.zero_grad()
            loss = criterion(model(images), self.data.train_labels[chosen])
            loss.backward()
            optimizer.step()
            found.append(loss.item())

        return found


def our_losses(spec: RunSpec, data: DeviceData, dtype: torch.dtype, num_steps: int) -> list[float]:
    """Take as many steps with engine.training.step, and read each loss from the sums."""
    state = start_training(spec, torch.device("cpu"), dtype=dtype)
    per_epoch = spec.steps_per_epoch(NUM_TRAIN)
    found, before = [], 0.0
    for step in range(num_steps):
        epoch, index = divmod(step, per_epoch)
        draws = EpochDraws.draw(spec.seed, epoch, NUM_TRAIN)
        batch = training_batch(data, draws, index * BATCH_SIZE, spec.recipe, dtype=dtype)
        rate = learning_rate_at(step, spec.recipe, total_steps=per_epoch * spec.recipe.epochs)
        train_step(state, batch, learning_rate=rate)
        total, _ = state.sums.read()
        found.append((total - before) / len(batch.labels))
        before = total
    return found


NETWORKS = [("resnet", 10), ("plain", 10), ("preact", 10), ("he-resnet", 8), ("he-plain", 8)]
"""One block for each stage."""


@pytest.mark.parametrize(("architecture", "depth"), NETWORKS)
def test_losses_equal_the_textbook_loops_in_float64(architecture: str, depth: int):
    """Relative difference below 1e-9 over 20 steps, including a partial last batch."""
    spec, data = a_spec(architecture, depth), random_data()

    expected = Textbook(spec, data, torch.float64).losses(NUM_STEPS)
    found = our_losses(spec, data, torch.float64, NUM_STEPS)

    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("architecture", "depth"), NETWORKS)
def test_losses_equal_the_textbook_loops_in_float32(architecture: str, depth: int):
    """Below 1e-5 at the first step and 1e-3 at the twentieth: only rounding differs, and it grows."""
    spec, data = a_spec(architecture, depth), random_data()

    expected = Textbook(spec, data, torch.float32).losses(NUM_STEPS)
    found = our_losses(spec, data, torch.float32, NUM_STEPS)

    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[-1] == pytest.approx(expected[-1], rel=1e-3)


def test_a_wrong_augmentation_would_be_seen():
    """Control: with one flip inverted, the float64 comparison fails."""
    spec, data = a_spec("he-resnet", 8), random_data()
    draws = EpochDraws.draw(spec.seed, 0, NUM_TRAIN)
    other = EpochDraws(draws.permutation, draws.offsets, ~draws.flips)
    batches = [training_batch(data, drawn, 0, spec.recipe, dtype=torch.float64) for drawn in (draws, other)]
    losses = []
    for batch in batches:
        state = start_training(spec, torch.device("cpu"), dtype=torch.float64)
        train_step(state, batch, learning_rate=0.1)
        losses.append(state.sums.read()[0])

    assert losses[0] != pytest.approx(losses[1], rel=1e-9)


def test_bfloat16_computes_nearly_the_same_with_float32_weights():
    """Rounding to eight bits shows only in the loss: weights and updates stay float32."""
    spec, data = a_spec("he-resnet", 8), random_data()
    batch = training_batch(data, EpochDraws.draw(spec.seed, 0, NUM_TRAIN), 0, spec.recipe)
    losses = []
    for precision in ("fp32", "bf16"):
        chosen = msgspec.structs.replace(spec, recipe=recipe("reference", batch_size=BATCH_SIZE, precision=precision))
        state = start_training(chosen, torch.device("cpu"))
        train_step(state, batch, learning_rate=0.1)
        losses.append(state.sums.read()[0])
        assert {parameter.dtype for parameter in state.model.parameters()} == {torch.float32}

    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_last_partial_batch_is_trained_on():
    """50,000 images give 390 batches of 128 and one of 80; here, 150 give nine of 16 and one of 6."""
    spec, data = a_spec("he-resnet", 8), random_data()
    draws = EpochDraws.draw(spec.seed, 0, NUM_TRAIN)

    sizes = [
        len(training_batch(data, draws, index * BATCH_SIZE, spec.recipe).labels)
        for index in range(spec.steps_per_epoch(NUM_TRAIN))
    ]

    assert sizes == [16] * 9 + [6]
    assert RunSpec(model=spec.model).steps_per_epoch(50_000) == 391


def test_without_augmentation_the_images_are_as_they_are():
    """The recipe's augment switches off crop and flip, and nothing else."""
    import torchvision.transforms.functional as TF

    spec, data = (
        a_spec("he-resnet", 8, recipe=recipe("reference", augment=False, batch_size=4, precision="fp32")),
        random_data(),
    )
    draws = EpochDraws.draw(spec.seed, 0, NUM_TRAIN)

    batch = training_batch(data, draws, 0, spec.recipe)
    first = data.train_images[draws.permutation[0]].permute(2, 0, 1)

    assert torch.equal(batch.images[0], TF.normalize(to_tensor(first, torch.float32), MEAN, STD))


def parameters(state: TrainingState) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in state.model.parameters()]


def freezes_at_a_loss_that_is_not_finite(device: str) -> None:
    """Check a step with a NaN in its images, followed by a good one."""
    spec, data = a_spec("he-resnet", 8), random_data(device)
    state = start_training(spec, torch.device(device))
    draws = EpochDraws.draw(spec.seed, 0, NUM_TRAIN).to(state.device)
    good = training_batch(data, draws, 0, spec.recipe)
    bad = Batch(torch.full_like(good.images, float("nan")), good.labels)
    train_step(state, good, learning_rate=0.1)
    assert diverged_at(state) is None
    before = parameters(state)
    momentum = [buffer.clone() for buffer in state.optimizer.momentum_buffers.values()]
    for batch in (bad, good, good):
        train_step(state, batch, learning_rate=0.1)

    assert diverged_at(state) == 1
    assert all(map(torch.equal, before, parameters(state)))
    now = list(state.optimizer.momentum_buffers.values())
    assert all(map(torch.equal, momentum, now))


def test_a_loss_that_is_not_finite_stops_every_update_after_it():
    """Parameters and momentum keep their values from before the step."""
    freezes_at_a_loss_that_is_not_finite("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_loss_that_is_not_finite_freezes_the_update_on_a_gpu():
    """On a GPU the flag stays on the device, so nothing waits for it."""
    freezes_at_a_loss_that_is_not_finite("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_sees_the_batches_of_the_cpu():
    """Draws depend only on seed and epoch, and pixels are exact on every device."""
    spec = a_spec("he-resnet", 8)
    draws = EpochDraws.draw(spec.seed, 1, NUM_TRAIN)
    here, there = (
        training_batch(random_data(device), draws.to(torch.device(device)), 32, spec.recipe)
        for device in ("cpu", "cuda")
    )

    assert torch.equal(here.images, there.images.cpu())
    assert torch.equal(here.labels, there.labels.cpu())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_step_on_a_gpu_does_not_synchronise():
    """torch is set to raise at any call that waits for the device."""
    spec, data = a_spec("he-resnet", 8), random_data("cuda")
    state = start_training(spec, torch.device("cuda"))
    draws = EpochDraws.draw(spec.seed, 0, NUM_TRAIN).to(state.device)
    for step in range(3):
        torch.cuda.set_sync_debug_mode("error" if step else "default")
        try:
            train_step(state, training_batch(data, draws, step * BATCH_SIZE, spec.recipe), learning_rate=0.1)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    assert diverged_at(state) is None


def test_equal_seeds_start_equal_and_others_do_not():
    """Initialisation is keyed by the seed."""
    first, again, other = (
        parameters(start_training(a_spec("plain", 10, seed=seed), torch.device("cpu"))) for seed in (1, 1, 2)
    )

    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


def test_evaluation_does_not_depend_on_the_batch_size_and_changes_nothing():
    """Means are over images, not batches, and running statistics stay unchanged."""
    spec, data = a_spec("resnet", 10), random_data()
    state = start_training(spec, torch.device("cpu"), dtype=torch.float64)
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}

    whole = evaluate(state.model, data, batch_size=50, dtype=torch.float64)
    parts = evaluate(state.model, data, batch_size=7, dtype=torch.float64)

    assert whole == pytest.approx(parts)
    assert all(torch.equal(before[name], tensor) for name, tensor in state.model.state_dict().items())


def test_evaluation_can_be_left_between_batches():
    """Evaluating a deep network on a CPU takes minutes, which a stop must not wait for."""
    state = start_training(a_spec("he-resnet", 8), torch.device("cpu"))

    assert evaluate(state.model, random_data(), batch_size=10, should_stop=lambda: True) is None
