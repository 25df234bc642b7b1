"""Workers with one safeguard removed, which the kill tests must detect."""

import os
from collections.abc import Callable
from typing import Any


def change_state(changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Save a modified state."""
    import engine.training.session

    original = engine.training.session.checkpoint_state
    engine.training.session.checkpoint_state = lambda *args: changed(original(*args))


def momentum() -> None:
    """Omit momentum from checkpoints."""
    change_state(lambda state: {**state, "optimizer": {**state["optimizer"], "state": {}}})


def statistics() -> None:
    """Omit running means and variances from checkpoints."""
    import torch

    def without(state: dict[str, Any]) -> dict[str, Any]:
        zeroed = {name: torch.zeros_like(kept) for name, kept in state["model"].items() if "running" in name}
        return {**state, "model": {**state["model"], **zeroed}}

    change_state(without)


def generator_keys() -> None:
    """Draw order and augmentation from one continuous generator instead of one keyed by seed and epoch."""
    from engine.training.augmentation import EpochDraws

    original = EpochDraws.draw
    drawn = iter(range(1 << 30))
    EpochDraws.draw = lambda seed, _epoch, num_images: original(seed, next(drawn), num_images)


def schedule_position() -> None:
    """Compute the learning rate from this worker's steps instead of the run's."""
    import engine.training.loop

    original = engine.training.loop.learning_rate_at
    first: list[int] = []

    def from_here(step: int, recipe: Any, *, total_steps: int) -> float:
        first.append(step)
        return float(original(step - first[0], recipe, total_steps=total_steps))

    engine.training.loop.learning_rate_at = from_here


def checkpoint_in_place() -> None:
    """Overwrite the checkpoint in place, keeping only one."""
    from kill_points import HALF_CHECKPOINT, plan

    import engine.training.checkpoint
    from engine.training.checkpoint import CHECKPOINT_FORMAT

    original = engine.training.checkpoint.write_archive

    def over(folder: Any, state: dict[str, Any]) -> int:
        size = original(folder, "whole", {"format": CHECKPOINT_FORMAT, **state})
        content = folder.read("whole")
        with os.fdopen(folder.open("checkpoint.pt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(content[: size // 2])
            file.flush()
            plan.reach(HALF_CHECKPOINT)
            file.write(content[size // 2 :])
        return size

    # Otherwise the kill would hit the temporary file.
    engine.training.checkpoint.os = os
    engine.training.checkpoint.save_checkpoint = over
    import engine.training.session

    engine.training.session.save_checkpoint = over


def row_with_checkpoint() -> None:
    """Omit the epoch's journal row from checkpoints."""
    change_state(lambda state: {**state, "pending_lines": []})


def torn_line_cut() -> None:
    """Append after a torn line instead of cutting it off."""
    from kill_points import Instead

    import engine.runs.journal

    engine.runs.journal.os = Instead(engine.runs.journal.os, ftruncate=lambda _descriptor, _size: None)


def watch_over_numbers() -> None:
    """Skip the checks for finite losses and weights, and continue updating."""
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
