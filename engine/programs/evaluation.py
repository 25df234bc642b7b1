"""Evaluate weights on a test set: `python -P -m engine.programs.evaluation`; reads one JSON line from stdin."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import torch

from engine.base.errors import DepthscopeError, UsageError
from engine.base.paths import Home
from engine.control.messages import Evaluated, EvaluationAnswer, EvaluationTask, NotEvaluated
from engine.data import datasets
from engine.programs.foreign_weights import centre_shortcuts, check_finite, guessing_note, load
from engine.programs.weights_file import read_weights
from engine.spec.precision import Precision
from engine.spec.run import check_fits_data
from engine.training import numerics
from engine.training.device import assigned_device, device_name, divide_threads, torch_device
from engine.training.layout import choose, lay_out
from engine.training.step import evaluate, load_to_device


def measure(task: EvaluationTask) -> Evaluated:
    """Load weights into a network and evaluate it.

    Raises:
        UsageError: the weights do not fit, or the dataset is missing.
        DepthscopeError: the device is unusable.
    """
    device, spec = torch_device(assigned_device()), task.spec
    path = Path(task.weights)
    loaded = load(spec.model, found := read_weights(path), source=path.name, preset=task.preset)
    model = loaded.model
    if task.centred:
        centre_shortcuts(model)
    check_finite(model, source=path.name)
    dataset = datasets.load(Home(Path(task.home)), spec.data.name)
    info = dataset.info
    check_fits_data(spec, num_train=info.num_train, num_test=info.num_test, num_classes=info.num_classes)
    used = numerics.resolve(spec, device)
    numerics.configure(device, used, deterministic=spec.recipe.deterministic)
    data = load_to_device(dataset, spec, device)
    data = replace(data, mean=task.mean or data.mean, std=task.std or data.std)
    model = model.to(device)
    lay_out(model, choose(model, used, device))
    began = time.perf_counter()
    with torch.no_grad():
        measured = evaluate(model, data, precision=used)
    assert measured is not None, "evaluation without should_stop cannot be stopped"
    loss, error = measured
    notes = loaded.notes
    if (warning := guessing_note(error, spec.model.num_classes)) is not None:
        notes = (warning, *notes)
    if not math.isfinite(loss):
        remedy = "" if used is Precision.FP32 else "; try --precision fp32"
        raise DepthscopeError(f"{path.name} gives outputs that are not finite in {used}{remedy}")
    return Evaluated(
        test_loss=loss,
        test_error_percent=error,
        num_images=len(data.test_labels),
        num_tensors=len(found.tensors),
        by_name=loaded.names is not None,
        names=loaded.names,
        notes=() if task.is_run else notes,
        mean=(data.mean[0], data.mean[1], data.mean[2]),
        std=(data.std[0], data.std[1], data.std[2]),
        data_sha256=info.digest(),
        synthetic=info.synthetic,
        precision=used,
        device_name=device_name(device),
        torch=str(torch.__version__),
        seconds=time.perf_counter() - began,
    )


def main() -> None:
    """Entry point; errors are sent as replies."""
    divide_threads()
    answer: EvaluationAnswer
    try:
        answer = measure(msgspec.json.decode(sys.stdin.readline(), type=EvaluationTask))
    except (DepthscopeError, ValueError) as error:
        answer = NotEvaluated(text=str(error), usage=isinstance(error, UsageError | ValueError))
    except (RuntimeError, MemoryError) as error:
        answer = NotEvaluated(text=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}", usage=False)
    print(msgspec.json.encode(answer).decode(), flush=True)


if __name__ == "__main__":
    main()
