import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import PaddingShortcut, PreActivationBlock
from models.build import build_model
from models.catalog import Architecture, ModelSpec, label, model_spec


def tiny(architecture: str, **options) -> ModelSpec:
    """Create a spec with one or two blocks per stage and few channels: every kind of block, in milliseconds."""
    blocks = (2, 1, 2) if architecture.startswith("he-") else (2, 1, 1, 2)
    return model_spec(architecture, None, **{"blocks": blocks, "width": 4, **options})


TINY = [tiny(architecture) for architecture in Architecture] + [
    tiny(architecture, block="bottleneck") for architecture in ("resnet", "plain", "preact")
]


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def silence_branches(model: nn.Module) -> None:
    """Make every block's convolutions add zeros to its shortcut."""
    for name, module in model.named_modules():
        if name.startswith("stages.") and isinstance(module, nn.BatchNorm2d) and "shortcut" not in name:
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


@pytest.mark.parametrize("spec", TINY, ids=label)
def test_every_parameter_learns(spec):
    """Parameters without gradients would be useless."""
    torch.manual_seed(0)
    model = build_model(spec)

    F.cross_entropy(model(images()), torch.tensor([0, 1, 2])).backward()

    dead = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert dead == []


@pytest.mark.parametrize("spec", TINY, ids=label)
def test_a_seed_decides_every_weight(spec):
    """A repeated run starts from the same network."""
    weights = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        weights.append(torch.cat([parameter.flatten() for parameter in build_model(spec).parameters()]))

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_silenced_he_resnet_is_its_shortcuts():
    """Option A: the stem's output at every fourth pixel reaches the classifier, padded with zeros."""
    torch.manual_seed(0)
    model = build_model(tiny("he-resnet")).eval()
    silence_branches(model)

    stem = F.relu(model.stem_norm(model.stem(images())))  # [3, 4, 32, 32]
    pooled = stem[:, :, ::4, ::4].mean((2, 3))  # [3, 4]
    expected = model.head(F.pad(pooled, (0, 12)))

    assert torch.allclose(model(images()), expected, atol=1e-5)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_silenced_resnet_is_its_shortcuts(block):
    """Projections where the shape changes, identity elsewhere, a ReLU after every addition."""
    torch.manual_seed(0)
    model = build_model(tiny("resnet", block=block)).eval()
    silence_branches(model)

    out = F.relu(model.stem_norm(model.stem(images())))
    for stage in model.stages:
        if isinstance(stage[0].shortcut, nn.Identity):
            assert block == "basic"
            assert stage is model.stages[0]
        else:
            out = F.relu(stage[0].shortcut.norm(stage[0].shortcut.conv(out)))
    expected = model.head(out.mean((2, 3)))

    assert torch.allclose(model(images()), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ["plain", "he-plain"])
def test_a_silenced_plain_network_passes_nothing(architecture):
    """Without shortcuts only the classifier's bias is left."""
    model = build_model(tiny(architecture)).eval()
    silence_branches(model)

    assert torch.equal(model(images()), model.head.bias.expand(3, 10))


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_preact_activates_before_it_splits_only_where_the_paper_does(block):
    """At the first block and where the shape changes; elsewhere the identity is unchanged."""
    torch.manual_seed(0)
    model = build_model(tiny("preact", block=block)).eval()
    for module in model.modules():
        if isinstance(module, PreActivationBlock):
            nn.init.zeros_((module.conv3 or module.conv2).weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)  # With zero biases a second ReLU would have no effect.

    out = model.stem(images())
    for stage in model.stages:
        first = stage[0]
        activated = F.relu(first.norm1(out))
        out = activated if isinstance(first.shortcut, nn.Identity) else first.shortcut.conv(activated)
    assert out.min() < 0, "the identity path of the last stage is not rectified"
    expected = model.head(F.relu(model.final_norm(out)).mean((2, 3)))

    assert torch.allclose(model(images()), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", Architecture)
def test_without_normalisation_there_are_no_such_layers(architecture):
    """No such layers or running statistics, hence no difference between training and evaluation."""
    torch.manual_seed(0)
    model = build_model(tiny(architecture, norm="none"))

    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert list(model.buffers()) == []
    assert torch.equal(model.train()(images()), model.eval()(images()))


@pytest.mark.parametrize("architecture", Architecture)
def test_conv_bias_is_the_main_path_alone(architecture):
    """Projections have a field of their own; the stem has none in any variant."""
    model = build_model(tiny(architecture, conv_bias=True))
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}

    with_bias = {name for name, module in convolutions.items() if module.bias is not None}
    assert with_bias == {name for name in convolutions if name != "stem" and "shortcut" not in name}


@pytest.mark.parametrize("architecture", ["resnet", "preact"])
def test_projection_bias_is_the_projections_alone(architecture):
    """In the report, the 1×1 convolution of a shortcut has one too."""
    model = build_model(tiny(architecture, projection_bias=True))

    with_bias = {name for name, module in model.named_modules() if getattr(module, "bias", None) is not None}
    convolutions = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert with_bias & convolutions == {f"stages.{stage}.0.shortcut.conv" for stage in (1, 2, 3)}


def test_three_stage_weights_are_kaiming_normal():
    """He et al. 2015b, equation 10: variance 2 / fan-in, biases zero."""
    torch.manual_seed(0)
    model = build_model(model_spec("he-plain", 20, conv_bias=True))

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            # The std of n normal numbers has a relative error of about 1/sqrt(2n); allow five times that.
            tolerance = 5 / math.sqrt(2 * module.weight.numel())
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=tolerance), name
            assert module.bias is None or not module.bias.any()


def test_padding_keeps_the_memory_order():
    """Converting between channels-last and channels-first at every stage would slow down a GPU."""
    x = torch.randn(2, 4, 8, 8).to(memory_format=torch.channels_last)

    out = PaddingShortcut(4, 8, 2)(x)

    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out[:, :4], x[:, :, ::2, ::2])
    assert not out[:, 4:].any()


@pytest.mark.parametrize("spec", TINY, ids=label)
def test_logits_have_a_column_a_class(spec):
    """Ten for CIFAR-10, else the requested number."""
    wider = tiny(spec.architecture, block=spec.block, num_classes=100)

    assert build_model(spec)(images(2)).shape == (2, 10)
    assert build_model(wider)(images(2)).shape == (2, 100)


@pytest.mark.parametrize("spec", TINY, ids=label)
def test_images_of_twice_the_size_are_refused(spec):
    """The pool is fixed; an adaptive one would silently train a different network."""
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        build_model(spec)(torch.randn(2, 3, 64, 64))
