"""Evaluate weights in a process with torch, and format the result as a page or a document."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from console.text.formatting import clean, duration, percent
from console.text.status import loss
from engine.base.errors import DepthscopeError, UsageError
from engine.control.messages import (
    Evaluated,
    EvaluationAnswer,
    EvaluationTask,
    ExportAnswer,
    Exported,
    ExportTask,
    NotEvaluated,
)
from engine.runs.run import Run
from engine.spec.devices import Device
from engine.spec.presets import PRESETS, Channels, Preset
from models import catalog

_decode: Callable[[str], EvaluationAnswer] = msgspec.json.Decoder(EvaluationAnswer).decode
_decode_export: Callable[[str], ExportAnswer] = msgspec.json.Decoder(ExportAnswer).decode


def evaluate(task: EvaluationTask, device: Device) -> Evaluated:
    """Evaluate in a separate process.

    Raises:
        UsageError: the weights do not fit, or the dataset is missing.
        DepthscopeError: the evaluation failed.
    """
    environment = {"DEPTHSCOPE_DEVICE": device.name, "CUDA_VISIBLE_DEVICES": device.visible}
    answer = _decode(last_line("evaluation", task, environment))
    if isinstance(answer, NotEvaluated):
        raise refusal(answer)
    return answer


def export(task: ExportTask) -> Exported:
    """Write a run's weights for another program, in a separate process.

    Raises:
        UsageError: the other program has no such network.
        DepthscopeError: the file cannot be written.
    """
    answer = _decode_export(last_line("weights_export", task, {"CUDA_VISIBLE_DEVICES": ""}))
    if isinstance(answer, NotEvaluated):
        raise refusal(answer)
    return answer


def last_line(program: str, task: msgspec.Struct, environment: dict[str, str]) -> str:
    """Answer of a program of engine.programs to one task.

    Raises:
        DepthscopeError: it crashed.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"engine.programs.{program}"],
        input=msgspec.json.encode(task).decode() + "\n",
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    lines = done.stdout.splitlines()
    if not lines:
        reason = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise DepthscopeError(f"the {program.replace('_', ' ')} process crashed: {clean(reason[0])}")
    return lines[-1]


def refusal(answer: NotEvaluated) -> DepthscopeError:
    """Error that stands for a program's reason."""
    return UsageError(clean(answer.text)) if answer.usage else DepthscopeError(clean(answer.text))


def check_preset(preset: Preset, architecture: catalog.Architecture) -> None:
    """Check that a preset's program has such networks.

    Raises:
        UsageError: it has none.
    """
    known = PRESETS[preset].architectures
    if architecture not in known:
        raise UsageError(
            f"{preset} has no network like {architecture}: --as {preset} goes with -a {' or '.join(known)}"
        )


def channels(text: str, option: str) -> Channels:
    """Parse three numbers, one for each channel.

    Raises:
        UsageError: the text is not three finite numbers.
    """
    try:
        red, green, blue = (float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"{option} must be three numbers such as 0.4914,0.4822,0.4465, got {text!r}") from None
    if not all(abs(value) < 1e6 and (option == "--mean" or value > 0) for value in (red, green, blue)):
        raise UsageError(f"{option} must be three numbers{'' if option == '--mean' else ' above 0'}, got {text!r}")
    return red, green, blue


def evaluation_page(task: EvaluationTask, found: Evaluated, run: Run | None) -> str:
    """Page with the result, its subject and its conditions."""
    numbers = [",".join(f"{value:.4f}" for value in values) for values in (found.mean, found.std)]
    synthetic = " (synthetic: says nothing about CIFAR)" * found.synthetic
    whose = {None: "position", "ours": "name", "report": "the report's names"}.get(
        found.names, f"{found.names}'s names"
    )
    facts = [
        ("network", catalog.label(task.spec.model)),
        ("weights", f"{clean(task.weights)}: {found.num_tensors} tensors by {whose}"),
        ("data", f"{clean(task.spec.data.name)}, {found.num_images} test images{synthetic}, {found.data_sha256[:12]}"),
        ("normalised", f"mean {numbers[0]}, std {numbers[1]}{normalised_by(task)}"),
        ("test error", f"{percent(found.test_error_percent)} (accuracy {percent(100 - found.test_error_percent)})"),
        ("test loss", loss(found.test_loss)),
        ("computed", f"{found.precision} on {found.device_name}, torch {found.torch}, {duration(found.seconds)}"),
    ]
    if task.spec.model.architecture is catalog.Architecture.HE_RESNET and found.names != "ours":
        where = "padded on both sides" if task.centred else "padded at the end (--centred-shortcuts: on both sides)"
        because = "the weights do not record which" if task.preset is None else f"as {task.preset} does"
        facts.insert(2, ("shortcuts", f"new channels {where}; {because}"))
    facts[2:2] = [("note", note) for note in found.notes]
    if run is not None and run.test_error_percent is not None:
        facts.insert(-2, ("recorded", f"{percent(run.test_error_percent)} at the end of the run"))
    return "\n".join(f"{name:<12}{value}" for name, value in facts)


def normalised_by(task: EvaluationTask) -> str:
    """Whose normalisation is used; nothing for a run, which has its dataset's."""
    if task.is_run:
        return ""
    if task.mean is None or task.std is None:
        return " (the dataset's where not given: the file does not record its own; --as, --mean, --std)"
    if task.preset is not None and (task.mean, task.std) == (PRESETS[task.preset].mean, PRESETS[task.preset].std):
        return f" ({task.preset}'s)"
    return " (as given)"


def evaluation_document(task: EvaluationTask, found: Evaluated, run: Run | None) -> dict[str, Any]:
    """JSON document of the result."""
    return {
        "run": None if run is None else run.id,
        "recorded_test_error_percent": None if run is None else run.test_error_percent,
        "weights": task.weights,
        "network": catalog.label(task.spec.model),
        "model": msgspec.to_builtins(task.spec.model),
        "data": msgspec.to_builtins(task.spec.data),
        **{name: value for name, value in msgspec.to_builtins(found).items() if name != "type"},
    }
