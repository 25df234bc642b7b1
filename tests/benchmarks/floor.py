"""Lower bound of a training step's time: `uv run python -m tests.benchmarks.floor`.

Times a network's convolutions alone, forward and backward, each shape separately, on prepared tensors: a step that did
nothing else would take that long. Printed next to our step and the textbook loop's, so that goals stay realistic.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from torch import nn

from console.programs.bench import bench_document, bench_network, bench_table, conditions
from engine.spec.devices import CPU, find_devices
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training import numerics
from engine.training.device import torch_device
from engine.training.layout import choose, lay_out, memory_format
from models import cost
from models.catalog import label, model_spec
from models.cost import Layer, LayerKind

SECONDS_A_SHAPE = 1.0


def seconds_of(layer: Layer, spec: RunSpec, device: torch.device) -> float:
    """Measure one convolution of a batch, forward and backward: best of as many as fit into a second."""
    used = numerics.resolve(spec, device)
    kind = numerics.AUTOCAST_TYPES.get(used, torch.float32)
    (channels, size, _), (planes, size_after, _) = layer.input_shape, layer.output_shape
    kernel = round((layer.num_parameters / (channels * planes)) ** 0.5)
    batch = spec.recipe.batch_size

    convolution = nn.Conv2d(
        channels, planes, kernel, stride=size // size_after, padding=kernel // 2, bias=False, device=device, dtype=kind
    )
    layout = choose(convolution, used, device)
    lay_out(convolution, layout)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device).to(kind).contiguous(memory_format=memory_format(layout))

    images, slope = drawn(batch, channels, size, size), drawn(batch, planes, size_after, size_after)
    # The first layer's input is the image, which needs no gradient.
    inputs = [convolution.weight] + ([] if layer.name == "stem" else [images.requires_grad_()])
    best, until = float("inf"), time.perf_counter() + SECONDS_A_SHAPE
    while time.perf_counter() < until:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        output = convolution(images)
        torch.autograd.grad(output, inputs, slope)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best


def convolutions_alone(spec: RunSpec, device: torch.device) -> float:
    """Measure all convolutions of one step, in seconds."""
    shapes = Counter(
        (layer.name == "stem", layer.input_shape, layer.output_shape, layer.num_parameters)
        for layer in cost.layers(spec.model)
        if layer.kind is LayerKind.CONVOLUTION
    )
    firsts = {
        (layer.name == "stem", layer.input_shape, layer.output_shape, layer.num_parameters): layer
        for layer in reversed(cost.layers(spec.model))
    }
    return sum(number * seconds_of(firsts[shape], spec, device) for shape, number in shapes.items())


def main() -> None:
    """Print the bench table, followed by the lower bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-a", "--arch", default="he-resnet")
    parser.add_argument("-d", "--depth", type=int, default=20)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON too")
    options = parser.parse_args()
    spec = RunSpec(model=model_spec(options.arch, options.depth), recipe=recipe("reference"))
    place = next((device for device in find_devices() if device.visible), CPU)
    result = bench_network(
        label(spec.model),
        spec,
        place,
        trials=options.trials,
        seconds=options.seconds,
        report=lambda text: print(text, file=sys.stderr, flush=True),
    )
    device = torch_device(place.name)
    alone = convolutions_alone(spec, device)
    batch, ours, theirs = spec.recipe.batch_size, result.ours.median, result.textbook.median
    print(conditions([result], trials=options.trials, seconds=options.seconds))
    print(bench_table([result]))
    print(f"convolutions alone: {1000 * alone:.1f} ms a batch of {batch}, {os.cpu_count()} cores")
    if ours and theirs:
        step = batch / ours
        print(f"our step: {1000 * step:.1f} ms, of which convolutions {100 * alone / step:.0f} %: {ours / theirs:.2f}x")
        print(f"a step of nothing but convolutions: {batch / alone / theirs:.2f}x the textbook loop")
    if options.output is not None:
        document = bench_document([result], trials=options.trials, seconds=options.seconds)
        options.output.write_text(json.dumps({**document, "seconds_of_convolutions": alone}, indent=2))


if __name__ == "__main__":
    main()
