"""Write a run's weights for another program: `python -P -m engine.programs.weights_export`, one JSON line on stdin."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.base.errors import DepthscopeError, UsageError
from engine.control.messages import ExportAnswer, Exported, ExportTask, NotEvaluated
from engine.programs.weight_names import their_name
from engine.spec.presets import PRESETS, Preset
from models.build import build_model
from models.catalog import THREE_STAGE, Architecture, ModelSpec, Norm, label


def export(task: ExportTask) -> Exported:
    """Write the file.

    Raises:
        UsageError: the other program has no such network, or the file exists.
        DepthscopeError: the file cannot be written.
    """
    state = torch.load(task.weights, map_location="cpu", weights_only=True)
    renamed, notes = converted(task.model, state, task.preset)
    write(Path(task.output), renamed)
    return Exported(num_tensors=len(renamed), notes=tuple(notes))


def converted(spec: ModelSpec, state: Mapping[str, Tensor], preset: Preset) -> tuple[dict[str, Tensor], list[str]]:
    """State_dict that another program's network loads and computes the same with.

    Returns:
        The state_dict, and how it differs from ours.

    Raises:
        UsageError: the other program has no such network.
    """
    refuse_other_networks(spec, preset)
    notes = []
    found, theirs = dict(state), spec
    if PRESETS[preset].centred:
        found = with_centred_channels(spec, found)
        notes.append("channels are reordered: akamaster's shortcuts put new ones on both sides of the old ones")
    if PRESETS[preset].biases:
        theirs = msgspec.structs.replace(spec, architecture=Architecture.RESNET, conv_bias=True, projection_bias=True)
        if spec.architecture is Architecture.PLAIN:
            notes.append("projections are added, which the report's CNN has but never uses")
        if not spec.conv_bias or (spec.design.has_projections and not spec.projection_bias):
            notes.append("biases of 0 are added where the run has none")
    if spec.width != spec.design.width:
        notes.append(f"their network has {spec.design.width} channels in its first stage, this one {spec.width}")
    if preset is Preset.TORCHVISION:
        notes.append("for a torchvision network with a 3×3 stem of stride 1, no bias and no max pool")
    with torch.device("meta"):
        wanted = build_model(theirs).state_dict()
    names = PRESETS[preset].names
    return {their_name(name, names): found.get(name, untrained(name, wanted[name])) for name in wanted}, notes


def refuse_other_networks(spec: ModelSpec, preset: Preset) -> None:
    """Check that the other program has such a network.

    Raises:
        UsageError: it has none.
    """
    reason = None
    if spec.norm is not Norm.BATCH:
        reason = "it always normalises"
    elif spec.architecture is Architecture.PREACT:
        reason = "its PreActResNet has no normalisation after the last block"
    elif preset is not Preset.REPORT and not spec.design.is_residual:
        reason = "its networks have shortcuts"
    elif spec.architecture not in PRESETS[preset].architectures:
        reason = f"it has none like {spec.architecture}"
    elif not PRESETS[preset].biases and (spec.conv_bias or spec.projection_bias):
        reason = "its convolutions have no biases; --as report"
    elif spec.architecture in THREE_STAGE and len(set(spec.blocks)) > 1:
        reason = "its stages have equal numbers of blocks"
    if reason is not None:
        raise UsageError(f"{preset} has no network like {label(spec)}: {reason}")


def untrained(name: str, like: Tensor) -> Tensor:
    """Value of a tensor that changes nothing: zero, but one for a normalisation's scale and variance."""
    scales = name.endswith(("norm.weight", "running_var"))
    return torch.full(like.shape, int(scales), dtype=like.dtype, device="cpu")


def with_centred_channels(spec: ModelSpec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reorder the channels of the residual stream as if new ones were on both sides of the old ones.

    Within a stage, all blocks add to the same channels, so that they share one order.
    """
    orders = [torch.arange(spec.width)]
    for _ in spec.blocks[1:]:
        old = orders[-1]
        new = torch.arange(len(old), 2 * len(old))
        before = len(new) // 2
        orders.append(torch.cat([new[:before], old, new[before:]]))
    reordered = dict(state)
    for stage, num_blocks in enumerate(spec.blocks):
        for index in range(num_blocks):
            block = f"stages.{stage}.{index}"
            inputs = orders[stage - 1] if stage > 0 and index == 0 else orders[stage]
            reordered[f"{block}.conv1.weight"] = state[f"{block}.conv1.weight"][:, inputs]
            for name, tensor in state.items():
                # Scalars are the counters of the normalisation.
                if name.startswith((f"{block}.conv2.", f"{block}.norm2.")) and tensor.ndim:
                    reordered[name] = tensor[orders[stage]]
    reordered["head.weight"] = state["head.weight"][:, orders[-1]]
    return reordered


def write(path: Path, state: dict[str, Tensor]) -> None:
    """Write a new file of torch.save, or a safetensors file if its name says so.

    Raises:
        UsageError: it exists.
        DepthscopeError: it cannot be written.
    """
    if path.exists():
        raise UsageError(f"{path} exists: give the name of a new file")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".safetensors":
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, partial)
        else:
            # Copies, since a part of a tensor is saved with all of it.
            torch.save({name: tensor.clone() for name, tensor in state.items()}, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        raise DepthscopeError(f"{path} cannot be written: {str(error).splitlines()[0]}") from error
    finally:
        partial.unlink(missing_ok=True)


def main() -> None:
    """Entry point; errors are sent as replies."""
    answer: ExportAnswer
    try:
        answer = export(msgspec.json.decode(sys.stdin.readline(), type=ExportTask))
    except (DepthscopeError, ValueError) as error:
        answer = NotEvaluated(text=str(error), usage=isinstance(error, UsageError | ValueError))
    except (OSError, RuntimeError, MemoryError) as error:
        answer = NotEvaluated(text=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}", usage=False)
    print(msgspec.json.encode(answer).decode(), flush=True)


if __name__ == "__main__":
    main()
