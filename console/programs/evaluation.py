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
from engine.control.messages import Channels, Evaluated, EvaluationAnswer, EvaluationTask, NotEvaluated
from engine.runs.run import Run
from engine.spec.devices import Device
from models import catalog

_decode: Callable[[str], EvaluationAnswer] = msgspec.json.Decoder(EvaluationAnswer).decode


def evaluate(task: EvaluationTask, device: Device) -> Evaluated:
    """Evaluate in a separate process.

    Raises:
        UsageError: the weights do not fit, or the dataset is missing.
        DepthscopeError: the evaluation failed.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "engine.programs.evaluation"],
        input=msgspec.json.encode(task).decode() + "\n",
        capture_output=True,
        text=True,
        env={**os.environ, "DEPTHSCOPE_DEVICE": device.name, "CUDA_VISIBLE_DEVICES": device.visible},
    )
    lines = done.stdout.splitlines()
    if not lines:
        reason = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise DepthscopeError(f"the evaluation process crashed: {clean(reason[0])}")
    answer = _decode(lines[-1])
    if isinstance(answer, NotEvaluated):
        raise UsageError(clean(answer.text)) if answer.usage else DepthscopeError(clean(answer.text))
    return answer


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
    facts = [
        ("network", catalog.label(task.spec.model)),
        ("weights", f"{clean(task.weights)}: {found.num_tensors} tensors by {'name' if found.by_name else 'position'}"),
        ("data", f"{clean(task.spec.data.name)}, {found.num_images} test images{synthetic}, {found.data_sha256[:12]}"),
        ("normalised", f"mean {numbers[0]}, std {numbers[1]}"),
        ("test error", f"{percent(found.test_error_percent)} (accuracy {percent(100 - found.test_error_percent)})"),
        ("test loss", loss(found.test_loss)),
        ("computed", f"{found.precision} on {found.device_name}, torch {found.torch}, {duration(found.seconds)}"),
    ]
    if task.spec.model.architecture is catalog.Architecture.HE_RESNET and not found.by_name:
        where = "padded on both sides" if task.centred else "padded at the end (--centred-shortcuts: on both sides)"
        facts.insert(2, ("shortcuts", f"new channels {where}; the weights do not record which"))
    if run is not None and run.test_error_percent is not None:
        facts.insert(-2, ("recorded", f"{percent(run.test_error_percent)} at the end of the run"))
    return "\n".join(f"{name:<12}{value}" for name, value in facts)


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
