"""Messages between commands and the programs they start: one JSON object per line."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from engine.spec.precision import Precision
from engine.spec.presets import Channels, Preset
from engine.spec.run import RunSpec
from models.catalog import ModelSpec


class Loop(StrEnum):
    """Loop to time; each runs in a separate process, so that they share neither settings nor memory."""

    DEPTHSCOPE = "depthscope"
    TEXTBOOK = "textbook"
    MATMUL = "matmul"
    """Products of large matrices: an upper bound on what the device can do."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """First message to a loop."""

    loop: Loop
    spec: RunSpec
    num_images: int
    """Number of random images to train on."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """First message from a loop, sent after its first step."""

    device_name: str
    precision: Precision
    """Precision in use."""
    torch: str
    torchvision: str
    cuda: str | None
    """CUDA version of the torch build; None for a CPU build."""
    num_threads: int
    seconds_to_first_step: float
    """Time from the start of the process to the end of the first step."""
    notices: tuple[str, ...] = ()


class Measured(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Reply to each further line, which gives the number of seconds to run."""

    amount: float
    """Images trained on, or multiply-accumulates done."""
    seconds: float
    peak_memory_bytes: int
    """Peak of the GPU's allocator; on the CPU, of the process, less what it had before training."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Reply of a loop that cannot continue."""

    error: str


Answer = Ready | Measured | Failed


class EvaluationTask(msgspec.Struct, frozen=True, kw_only=True):
    """Weights to evaluate, and the data to evaluate them on."""

    home: str
    weights: str
    """Path of a file written by torch.save, or of a safetensors file."""
    spec: RunSpec
    """Gives network, dataset and precision; its other fields are ignored."""
    mean: Channels | None = None
    """Mean of each channel for normalisation, of values in 0..1; None for the dataset's."""
    std: Channels | None = None
    centred: bool = False
    """Whether parameter-free shortcuts pad new channels on both sides of the old ones instead of after them."""
    preset: Preset | None = None
    """Program that trained the weights; None if unknown, or for a run of ours."""
    is_run: bool = False
    """Whether the weights are those of a run, so that nothing has to be guessed."""


class Evaluated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Result of an evaluation and its conditions."""

    test_loss: float | None
    """Mean cross entropy."""
    test_error_percent: float
    num_images: int
    num_tensors: int
    by_name: bool
    """Whether tensors were matched by name instead of by position."""
    names: str | None = None
    """Whose names: "ours", a preset's or a scheme's; None if matched by position."""
    notes: tuple[str, ...] = ()
    """What the file does not record and was taken for granted, and what was left out."""
    mean: Channels
    std: Channels
    data_sha256: str
    synthetic: bool
    precision: Precision
    device_name: str
    torch: str
    seconds: float
    """Duration of the evaluation alone."""


class ExportTask(msgspec.Struct, frozen=True, kw_only=True):
    """Weights of a run, and who shall be able to load them."""

    weights: str
    """Path of the run's final weights."""
    model: ModelSpec
    preset: Preset
    output: str
    """Path of the new file; safetensors if it ends in `.safetensors`."""


class Exported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Written file."""

    num_tensors: int
    notes: tuple[str, ...] = ()
    """How it differs from the run's weights."""


class NotEvaluated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Reason why the evaluation or the export failed."""

    text: str
    usage: bool
    """True if the request was invalid, False if the machine was unable to carry it out."""


EvaluationAnswer = Evaluated | NotEvaluated
ExportAnswer = Exported | NotEvaluated
