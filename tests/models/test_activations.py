"""The closed form of memory saved for the backward pass matches autograd to the byte."""

from __future__ import annotations

import itertools

import pytest

from engine.spec.precision import BYTES_OF_ACTIVATION, Precision
from models.activations import parts, peak_bytes, saved_bytes
from models.catalog import (
    ARCHITECTURES,
    FOUR_STAGE_BLOCKS,
    PAPER_DEPTHS,
    THREE_STAGE,
    Architecture,
    ModelSpec,
    Norm,
    label,
    model_spec,
)
from tests.memory_trace import saved_by_autograd

BATCH = 2
CATALOGUE = [
    model_spec(architecture, depth, block=block, width=2)
    for architecture in Architecture
    if architecture not in THREE_STAGE
    for depth, kinds in FOUR_STAGE_BLOCKS.items()
    for block in kinds
] + [model_spec(architecture, depth, width=2) for architecture in sorted(THREE_STAGE) for depth in PAPER_DEPTHS]
DEEP_BLOCKS = 28
"""Networks with at least this many blocks are traced by the slow tests; shallower ones have all kinds of blocks and
transitions, too."""
VARIANTS = [
    model_spec(
        architecture,
        None,
        blocks=(1, 2, 1) if architecture in THREE_STAGE else (1, 2, 1, 1),
        block=block,
        width=width,
        conv_bias=conv_bias,
        projection_bias=conv_bias and ARCHITECTURES[architecture].has_projections,
        norm=norm,
        num_classes=7,
    )
    for architecture in Architecture
    for block in ("basic", "bottleneck")
    if not (architecture in THREE_STAGE and block == "bottleneck")
    for width, conv_bias, norm in ((5, True, Norm.BATCH), (16, False, Norm.NONE), (1, True, Norm.NONE))
]


@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec, id=label(spec), marks=[pytest.mark.slow] if sum(spec.blocks) >= DEEP_BLOCKS else [])
        for spec in CATALOGUE + VARIANTS
    ],
)
def test_the_closed_form_is_what_autograd_saves(spec: ModelSpec, precision: Precision, checkpointed: bool):
    """Every storage counts once, without parameters; bf16's channels-last layout takes the same bytes."""
    counted = saved_by_autograd(spec, BATCH, precision, checkpointed=checkpointed)
    number_bytes = BYTES_OF_ACTIVATION[precision]

    assert saved_bytes(spec, BATCH, number_bytes=number_bytes, checkpointed=checkpointed) == counted


def test_what_is_saved_grows_with_the_batch_alone():
    """Statistics and the copies of weights are the same for one image and for many."""
    spec = model_spec("resnet", 50)
    one, two, ten = (saved_bytes(spec, batch, number_bytes=2) for batch in (1, 2, 10))

    assert ten - one == 9 * (two - one)
    assert one > two - one


def test_half_as_wide_numbers_save_nearly_half():
    """Except statistics, logits and weight copies, which are small in a narrow network."""
    spec = model_spec("he-resnet", 20)
    wide, narrow = (saved_bytes(spec, 128, number_bytes=number_bytes) for number_bytes in (4, 2))

    assert 0.5 < narrow / wide < 0.51


def test_checkpointing_keeps_the_inputs_of_blocks():
    """Only those: a deeper network adds one tensor per block."""
    spec = model_spec("he-resnet", 20)
    deeper = model_spec("he-resnet", 26)
    added = saved_bytes(deeper, 1, number_bytes=4, checkpointed=True) - saved_bytes(
        spec, 1, number_bytes=4, checkpointed=True
    )

    assert added == 4 * (16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8)


def test_the_peak_lies_above_what_is_saved():
    """It adds gradients of activations and recomputed tensors."""
    for spec in CATALOGUE:
        kept, again = (
            peak_bytes(spec, 128, number_bytes=4, checkpointed=checkpointed) for checkpointed in (False, True)
        )
        assert kept > saved_bytes(spec, 128, number_bytes=4)
        assert again > saved_bytes(spec, 128, number_bytes=4, checkpointed=True)
        assert again < kept


def test_parts_follow_each_other():
    """Each part's output is the next one's input, and each occurs once."""
    for spec in (*CATALOGUE, *VARIANTS):
        found = parts(spec)

        assert len(found) == sum(spec.blocks) + 2
        assert all(before.output_size == after.input_size for before, after in itertools.pairwise(found))
        assert len({part.name for part in found}) == len(found)
        assert all(part.saved_size > 0 for part in found)
