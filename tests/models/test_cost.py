from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from models.build import build_model
from models.catalog import ARCHITECTURES, FOUR_STAGE_BLOCKS, Architecture, Norm, label, model_spec
from models.cost import LayerKind, forward_macs, layers, num_parameters

FOUR_STAGE = [Architecture.RESNET, Architecture.PLAIN, Architecture.PREACT]
CATALOGUE = [
    model_spec(architecture, depth, block=block)
    for architecture in FOUR_STAGE
    for depth, kinds in FOUR_STAGE_BLOCKS.items()
    for block in kinds
] + [
    model_spec(architecture, depth)
    for architecture in (Architecture.HE_RESNET, Architecture.HE_PLAIN)
    for depth in ARCHITECTURES[architecture].depths
]
VARIANTS = [
    model_spec(
        architecture,
        None,
        blocks=(1, 2, 1) if architecture.startswith("he-") else (1, 2, 1, 1),
        block=block,
        width=width,
        conv_bias=conv_bias,
        projection_bias=conv_bias and ARCHITECTURES[architecture].has_projections,
        norm=norm,
        num_classes=7,
    )
    for architecture in Architecture
    for block in ("basic", "bottleneck")
    if not (architecture.startswith("he-") and block == "bottleneck")
    for width, conv_bias, norm in ((5, True, Norm.BATCH), (4, False, Norm.NONE), (1, True, Norm.NONE))
]


@dataclass(frozen=True)
class Observed:
    """A layer with weights, as seen by a forward hook."""

    name: str
    kind: LayerKind
    output_shape: tuple[int, ...]
    num_parameters: int
    macs: int


def observe(model: nn.Module) -> list[Observed]:
    """Return every layer with weights, in forward order."""
    seen: list[Observed] = []

    def watch(name: str, module: nn.Module) -> None:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            channels, height, width = (*output.shape[1:], 1, 1)[:3]
            if isinstance(module, nn.BatchNorm2d):
                kind, macs = LayerKind.NORMALISATION, 0
            else:
                kind = LayerKind.LINEAR if isinstance(module, nn.Linear) else LayerKind.CONVOLUTION
                macs = module.weight.numel() * height * width
            parameters = sum(parameter.numel() for parameter in module.parameters())
            seen.append(Observed(name, kind, (channels, height, width), parameters, macs))

        module.register_forward_hook(hook)

    for name, module in model.named_modules():
        if list(module.parameters(recurse=False)):
            watch(name, module)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    return seen


@pytest.mark.parametrize("spec", CATALOGUE + VARIANTS, ids=label)
def test_the_closed_form_is_the_built_network(spec, monkeypatch):
    """Names, order, shapes, parameters and MACs of all layers."""
    # Drawing seventy million unused random numbers would take most of the time.
    monkeypatch.setattr(nn.Conv2d, "reset_parameters", lambda convolution: None)
    model = build_model(spec)
    expected = layers(spec)

    assert observe(model) == [
        Observed(layer.name, layer.kind, layer.output_shape, layer.num_parameters, layer.macs) for layer in expected
    ]
    owners = dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters())
    assert list(owners) == [layer.name for layer in expected]
    assert num_parameters(spec) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("spec", CATALOGUE, ids=label)
def test_depth_counts_the_weighted_layers_of_the_main_path(spec):
    """As the reference defines it: projections and normalisations do not count."""
    counted = [layer for layer in layers(spec) if layer.kind != LayerKind.NORMALISATION and not layer.on_shortcut]

    assert len(counted) == spec.depth


@pytest.mark.parametrize(
    ("depth", "block", "parameters", "without_shortcuts", "macs"),
    [
        (18, "basic", 11_173_962, 11_000_138, 555_422_720),
        (20, "basic", 12_354_634, 12_180_810, 630_920_192),
        (34, "basic", 21_282_122, 21_108_298, 1_159_402_496),
        (50, "bottleneck", 23_520_842, 20_744_266, 1_297_829_888),
        (56, "basic", 39_798_858, 39_625_034, 1_989_874_688),
        (101, "bottleneck", 42_512_970, 39_736_394, 2_509_983_744),
        (110, "basic", 70_124_362, 69_950_538, 4_028_306_432),
        (110, "bottleneck", 45_864_522, 43_087_946, 2_723_893_248),
        (152, "bottleneck", 58_156_618, 55_380_042, 3_722_137_600),
    ],
)
def test_four_stage_figures_are_the_references(depth, block, parameters, without_shortcuts, macs):
    """The reference's table; a plain network is the residual one without its projections."""
    residual = model_spec("resnet", depth, block=block)
    plain = model_spec("plain", depth, block=block)

    assert num_parameters(residual) == parameters
    assert num_parameters(plain) == without_shortcuts
    assert forward_macs(residual) == macs
    assert sum(layer.num_parameters for layer in layers(residual) if not layer.on_shortcut) == without_shortcuts


@pytest.mark.parametrize("architecture", ["he-resnet", "he-plain"])
@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962), (1202, 19_421_274)],
)
def test_three_stage_figures_are_the_papers(architecture, depth, parameters):
    """Option A has no parameters, so both kinds have equal counts; the paper rounds them."""
    assert num_parameters(model_spec(architecture, depth)) == parameters


def test_preact18_is_pytorch_cifars_with_a_final_normalisation():
    """It has 11,171,146 parameters there; the normalisation of 512 channels it omits has 1,024."""
    assert num_parameters(model_spec("preact", 18)) == 11_171_146 + 1_024


def test_a_bias_costs_a_parameter_a_channel_and_no_macs():
    """On the blocks' main path; stem and projections have none."""
    without, with_bias = model_spec("resnet", 20), model_spec("resnet", 20, conv_bias=True)
    channels = sum(2 * num * planes for num, planes in zip(without.blocks, (64, 128, 256, 512), strict=True))

    assert num_parameters(with_bias) - num_parameters(without) == channels
    assert forward_macs(with_bias) == forward_macs(without)


@pytest.mark.parametrize(("depth", "parameters"), [(20, 12_359_882), (56, 39_812_810), (110, 70_149_962)])
def test_the_reports_networks_have_biases_in_projections_too(depth, parameters):
    """896 parameters more than with the blocks' biases alone: 128, 256 and 512 channels."""
    blocks_alone = model_spec("resnet", depth, conv_bias=True)
    reports = model_spec("resnet", depth, conv_bias=True, projection_bias=True)
    with torch.device("meta"):
        built = sum(parameter.numel() for parameter in build_model(reports).parameters())

    assert num_parameters(reports) == built == parameters
    assert parameters - num_parameters(blocks_alone) == 128 + 256 + 512
    assert forward_macs(reports) == forward_macs(blocks_alone)
