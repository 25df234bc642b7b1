"""Workers with one safeguard taken out: what the tests of kills must see, or they have no teeth."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def change_state(changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Save another state than the session's."""
    import engine.training.session

    original = engine.training.session.checkpoint_state
    engine.training.session.checkpoint_state = lambda *args: changed(original(*args))


def momentum() -> None:
    """Checkpoints leave out what the optimizer has gathered."""
    change_state(lambda state: {**state, "optimizer": {**state["optimizer"], "state": {}}})


def statistics() -> None:
    """Checkpoints leave out means and variances of batch normalisation."""
    import torch

    def without(state: dict[str, Any]) -> dict[str, Any]:
        zeroed = {name: torch.zeros_like(kept) for name, kept in state["model"].items() if "running" in name}
        return {**state, "model": {**state["model"], **zeroed}}

    change_state(without)


def generator_keys() -> None:
    """Order and augmentation come from a generator that runs on, instead of one keyed by seed and epoch."""
    from engine.training.augmentation import EpochDraws

    original = EpochDraws.draw
    drawn = iter(range(1 << 30))
    EpochDraws.draw = lambda seed, _epoch, num_images: original(seed, next(drawn), num_images)


def schedule_position() -> None:
    """The learning rate follows the steps of this worker, instead of those of the run."""
    import engine.training.loop

    original = engine.training.loop.learning_rate_at
    first: list[int] = []

    def from_here(step: int, recipe: Any, *, total_steps: int) -> float:
        first.append(step)
        return float(original(step - first[0], recipe, total_steps=total_steps))

    engine.training.loop.learning_rate_at = from_here


def checkpoint_in_place() -> None:
    """A checkpoint is written over the one before it, and is the only one."""
    from kill_points import HALF_CHECKPOINT, plan

    import engine.training.checkpoint
    from engine.training.checkpoint import CHECKPOINT_FORMAT

    original = engine.training.checkpoint.write_archive

    def over(current: Path, _previous: Path, state: dict[str, Any]) -> int:
        whole = current.with_name("whole")
        size = original(whole, {"format": CHECKPOINT_FORMAT, **state})
        content = whole.read_bytes()
        with os.fdopen(os.open(current, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content[: size // 2])
            file.flush()
            plan.reach(HALF_CHECKPOINT)
            file.write(content[size // 2 :])
        return size

    # The half that is written beside would be the point otherwise.
    engine.training.checkpoint.os = os
    engine.training.checkpoint.save_checkpoint = over
    import engine.training.session

    engine.training.session.save_checkpoint = over


def row_with_checkpoint() -> None:
    """Checkpoints do not carry the row of the epoch that they end."""
    change_state(lambda state: {**state, "pending_lines": []})


def torn_line_cut() -> None:
    """A worker appends behind a torn line, instead of cutting it off."""
    from kill_points import Instead

    import engine.runs.journal

    engine.runs.journal.os = Instead(engine.runs.journal.os, ftruncate=lambda _descriptor, _size: None)


def watch_over_numbers() -> None:
    """Losses and weights are not checked for being finite, and updates continue."""
    import engine.training.loop
    import engine.training.step

    engine.training.step.torch.isfinite = lambda tensor: engine.training.step.torch.ones_like(
        tensor, dtype=engine.training.step.torch.bool
    )
    engine.training.loop.has_finite_weights = lambda _state: True


ALL = {
    "watch over numbers": watch_over_numbers,
    "momentum": momentum,
    "statistics": statistics,
    "generator keys": generator_keys,
    "schedule position": schedule_position,
    "checkpoint in place": checkpoint_in_place,
    "row with checkpoint": row_with_checkpoint,
    "torn line cut": torn_line_cut,
}
