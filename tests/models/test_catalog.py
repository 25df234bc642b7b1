import itertools
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.catalog import (
    ARCHITECTURES,
    FOUR_STAGE_BLOCKS,
    MAX_BLOCKS,
    Architecture,
    Block,
    ModelSpec,
    Norm,
    depth_of,
    label,
    model_spec,
)

FOUR_STAGE = [Architecture.RESNET, Architecture.PLAIN, Architecture.PREACT]
THREE_STAGE = [Architecture.HE_RESNET, Architecture.HE_PLAIN]


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Generate any valid spec, with small numbers so that specs often coincide in part."""
    architecture = draw(st.sampled_from(Architecture))
    block = Block.BASIC if architecture in THREE_STAGE else draw(st.sampled_from(Block))
    stages = ARCHITECTURES[architecture].num_stages
    catalogued = [blocks for kinds in FOUR_STAGE_BLOCKS.values() for blocks in kinds.values()]
    known = st.just((2, 2, 2)) if stages == 3 else st.sampled_from(catalogued)
    blocks = draw(known | st.tuples(*[st.integers(1, 3)] * stages))
    return ModelSpec(
        architecture=architecture,
        depth=depth_of(block, blocks),
        block=block,
        blocks=blocks,
        width=draw(st.sampled_from([1, 8, 16, 64])),
        conv_bias=draw(st.booleans()),
        projection_bias=ARCHITECTURES[architecture].has_projections and draw(st.booleans()),
        norm=draw(st.sampled_from(Norm)),
        num_classes=draw(st.sampled_from([2, 10, 100])),
    )


@pytest.mark.parametrize("architecture", FOUR_STAGE)
@pytest.mark.parametrize(
    ("depth", "block", "blocks"),
    [
        (18, Block.BASIC, (2, 2, 2, 2)),
        (20, Block.BASIC, (2, 2, 3, 2)),
        (34, Block.BASIC, (3, 4, 6, 3)),
        (50, Block.BOTTLENECK, (3, 4, 6, 3)),
        (56, Block.BASIC, (6, 6, 9, 6)),
        (101, Block.BOTTLENECK, (3, 4, 23, 3)),
        (110, Block.BASIC, (9, 16, 20, 9)),
        (152, Block.BOTTLENECK, (3, 8, 36, 3)),
    ],
)
def test_a_depth_alone_names_a_four_stage_network(architecture, depth, block, blocks):
    """The reference's table, with its kind of block for each depth."""
    spec = model_spec(architecture, depth)

    assert (spec.depth, spec.block, spec.blocks, spec.width) == (depth, block, blocks, 64)


def test_depth_110_has_a_bottleneck_form():
    """The only depth the reference lists with both kinds of block."""
    assert model_spec("resnet", 110, block="bottleneck").blocks == (3, 4, 26, 3)


@pytest.mark.parametrize("architecture", THREE_STAGE)
@given(n=st.integers(1, 800))
def test_every_6n_plus_2_is_a_depth_of_the_papers_networks(architecture, n):
    """Section 4.2: three stages of n blocks each."""
    spec = model_spec(architecture, 6 * n + 2)

    assert (spec.blocks, spec.block, spec.width) == ((n, n, n), Block.BASIC, 16)


def test_known_depths_all_resolve():
    """All listed depths must be accepted."""
    for architecture, design in ARCHITECTURES.items():
        assert [model_spec(architecture, depth).depth for depth in design.depths] == list(design.depths)


def test_explicit_blocks_give_the_depth():
    """sum·2 + 2 for basic blocks, sum·3 + 2 for bottlenecks."""
    assert model_spec("plain", None, blocks=[1, 1, 1, 1]).depth == 10
    assert model_spec("plain", None, blocks=[1, 1, 1, 1], block="bottleneck").depth == 14
    assert model_spec("he-resnet", None, blocks=[1, 2, 3]).depth == 14


def test_a_depth_beside_explicit_blocks_decides_their_kind():
    """The two kinds of block never give the same depth, so the depth suffices."""
    assert model_spec("resnet", 18, blocks=[2, 2, 2, 2]).block == Block.BASIC
    assert model_spec("resnet", 26, blocks=[2, 2, 2, 2]).block == Block.BOTTLENECK


def test_words_are_read_without_regard_to_case_and_dashes():
    """`HE_ResNet` is unambiguous."""
    assert model_spec("HE_ResNet", 20, norm="Batch") == model_spec("he-resnet", 20)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            ("he-resnet", 57),
            {},
            "depth 57 does not exist for he-resnet: depths are 6n+2, the nearest are 56 and 62",
        ),
        (("he-plain", 2), {}, "depth 2 does not exist for he-plain: depths are 6n+2, the smallest is 8"),
        (("he-plain", -5), {}, "depth -5 does not exist for he-plain: depths are 6n+2, the smallest is 8"),
        (
            ("plain", 57),
            {},
            (
                "depth 57 does not exist for plain: depths are 18, 20, 34, 50, 56, 101, 110 and 152, "
                "the nearest is 56; any other needs explicit blocks per stage"
            ),
        ),
        (
            ("resnet", 20),
            {"block": "bottleneck"},
            (
                "depth 20 does not exist for resnet with bottleneck blocks: depths are 50, 101, 110 and 152; "
                "any other needs explicit blocks per stage"
            ),
        ),
        (
            ("resnt", 20),
            {},
            (
                "unknown architecture 'resnt': did you mean resnet? "
                "known are resnet, plain, preact, he-resnet and he-plain"
            ),
        ),
        (
            ("vgg", 16),
            {},
            "unknown architecture 'vgg': known are resnet, plain, preact, he-resnet and he-plain",
        ),
        (("resnet", 20), {"norm": "layer"}, "unknown norm 'layer': known are batch and none"),
        (("resnet", 20), {"block": "wide"}, "unknown block 'wide': known are basic and bottleneck"),
        (
            ("preact", None),
            {},
            "preact needs a depth (18, 20, 34, 50, 56, 101, 110 or 152) or explicit blocks per stage, got neither",
        ),
        (
            ("resnet", 20),
            {"blocks": [2, 2, 2, 2]},
            "depth must be 18 for basic blocks 2-2-2-2, got 20: leave the depth out, or change the blocks",
        ),
        (
            ("resnet", None),
            {"blocks": [2, 2, 2]},
            "resnet has 4 stages and takes 4 numbers of blocks, got 3 (blocks 2-2-2)",
        ),
        (
            ("he-plain", None),
            {"blocks": []},
            "he-plain has 3 stages and takes 3 numbers of blocks, got 0 (blocks (empty))",
        ),
        (
            ("resnet", None),
            {"blocks": [2, 0, 2, 2]},
            "every stage needs at least 1 block, got blocks 2-0-2-2",
        ),
        (
            ("he-resnet", 20),
            {"block": "bottleneck"},
            "he-resnet is made of basic blocks only, got block bottleneck: use basic",
        ),
        (
            ("he-resnet", 60002),
            {},
            f"a network may have at most {MAX_BLOCKS} blocks, got 30000 (depth 60002): ask for a smaller depth",
        ),
        (("resnet", 20), {"width": 0}, "width must be in 1..2048 (planes of the first stage), got 0"),
        (("resnet", 20), {"width": 4096}, "width must be in 1..2048 (planes of the first stage), got 4096"),
        (("resnet", 20), {"num_classes": 1}, "num_classes must be in 2..10000, got 1"),
    ],
)
def test_nonsense_is_refused_with_the_value_and_the_remedy(arguments, options, message):
    """Users see the text, so it is compared exactly."""
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # the whole message is compared
        model_spec(*arguments, **options)

    assert str(refusal.value) == message


@given(spec=specs())
def test_a_spec_survives_json(spec):
    """Runs are defined by their spec.json."""
    assert msgspec.json.decode(msgspec.json.encode(spec), type=ModelSpec) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown field `colour`"),
        ({"depth": 20}, "depth must be 18"),
        ({"architecture": "vgg"}, "Invalid enum value 'vgg'"),
        ({"width": True}, "Expected `int`, got `bool`"),
    ],
)
def test_a_spoilt_file_is_refused(change, message):
    """Specs from files obey the same rules as specs from options."""
    document = msgspec.to_builtins(model_spec("resnet", 18)) | change

    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.json.decode(msgspec.json.encode(document), type=ModelSpec)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (model_spec("resnet", 110), "resnet110"),
        (model_spec("resnet", 110, block="bottleneck"), "resnet110-bottleneck"),
        (model_spec("plain", 50), "plain50"),
        (model_spec("he-plain", 56, width=8), "he-plain56-w8"),
        (model_spec("he-resnet", 56, width=16), "he-resnet56"),
        (model_spec("preact", 18, norm="none", conv_bias=True), "preact18-nonorm-bias"),
        (model_spec("resnet", 20, conv_bias=True, projection_bias=True), "resnet20-bias-projbias"),
        (model_spec("resnet", None, blocks=[2, 2, 3, 2]), "resnet20"),
        (model_spec("resnet", 20, blocks=[3, 2, 2, 2]), "resnet20-b3.2.2.2"),
        (model_spec("resnet", None, blocks=[1, 1, 1, 1]), "resnet10-b1.1.1.1"),
        (model_spec("resnet", None, blocks=[2, 2, 2, 2], block="bottleneck"), "resnet26-bottleneck-b2.2.2.2"),
        (model_spec("he-resnet", None, blocks=[2, 2, 2]), "he-resnet14"),
        (model_spec("he-resnet", None, blocks=[1, 2, 3]), "he-resnet14-b1.2.3"),
        (model_spec("resnet", 18, num_classes=100), "resnet18-c100"),
    ],
)
def test_a_label_names_what_differs_from_the_catalogue(spec, name):
    """Short by default, and every change is visible."""
    assert label(spec) == name


@given(one=specs(), other=specs())
@settings(max_examples=300)
def test_different_networks_have_different_labels(one, other):
    """Two curves with one label would look like one network."""
    assert (label(one) == label(other)) == (one == other)


def test_a_spec_from_before_projection_biases_is_the_same_network():
    """Stored specs lack the field."""
    spec = model_spec("resnet", 20, conv_bias=True)
    document = msgspec.to_builtins(spec)
    del document["projection_bias"]

    assert msgspec.convert(document, ModelSpec) == spec


def test_projection_biases_need_projections():
    """A comparison may ask for them on plain too, where nothing changes; the paper's networks refuse them."""
    assert model_spec("plain", 20, projection_bias=True) == model_spec("plain", 20)
    with pytest.raises(ValueError, match="he-resnet has no projections to give a bias"):
        model_spec("he-resnet", 20, projection_bias=True)
    with pytest.raises(ValueError, match="plain has no projections"):
        msgspec.structs.replace(model_spec("plain", 20), projection_bias=True)


def test_catalogue_labels_are_unique():
    """For every listed depth and kind of block."""
    offered = [
        model_spec(architecture, depth, block=block)
        for architecture in FOUR_STAGE
        for depth, kinds in FOUR_STAGE_BLOCKS.items()
        for block in kinds
    ]
    offered += [model_spec(a, depth) for a, depth in itertools.product(THREE_STAGE, range(8, 200, 6))]

    assert len({label(spec) for spec in offered}) == len(offered)


def test_a_counterpart_differs_in_having_shortcuts():
    """A pair must consist of a residual and a plain network with equal stages."""
    for design in ARCHITECTURES.values():
        other = ARCHITECTURES[design.counterpart]
        assert design.is_residual != other.is_residual
        assert design.num_stages == other.num_stages


@pytest.mark.parametrize("module", ["models.catalog", "models.cost"])
def test_the_module_imports_no_torch(module):
    """The console starts in a fraction of torch's loading time."""
    program = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"

    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=60)
