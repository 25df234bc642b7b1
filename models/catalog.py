"""Catalogue of networks: names, depths, blocks per stage. Does not import torch."""

import difflib
import functools
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec

Word = TypeVar("Word", bound=StrEnum)


class Architecture(StrEnum):
    """A family of networks of various depths."""

    RESNET = "resnet"
    """Four stages with shortcuts: kuangliu/pytorch-cifar's, and the report's "Res"."""
    PLAIN = "plain"
    """The same without shortcuts: the report's "CNN"."""
    PREACT = "preact"
    """Four stages with pre-activation blocks (He et al. 2016, arXiv:1603.05027)."""
    HE_RESNET = "he-resnet"
    """Three narrow stages with parameter-free shortcuts (He et al. 2015, section 4.2)."""
    HE_PLAIN = "he-plain"
    """The same without shortcuts."""


class Block(StrEnum):
    """Kind of block a stage repeats."""

    BASIC = "basic"
    """Two 3×3 convolutions."""
    BOTTLENECK = "bottleneck"
    """1×1, 3×3 and 1×1 convolutions; the last widens fourfold."""


class Norm(StrEnum):
    """Normalisation of activations."""

    BATCH = "batch"
    NONE = "none"
    """No normalisation layers at all."""


CONVOLUTIONS = {Block.BASIC: 2, Block.BOTTLENECK: 3}
"""Weighted layers on the main path of one block."""
EXPANSION = {Block.BASIC: 1, Block.BOTTLENECK: 4}
"""Output channels of a block for each of its planes."""

FOUR_STAGE_BLOCKS: dict[int, dict[Block, tuple[int, ...]]] = {
    18: {Block.BASIC: (2, 2, 2, 2)},
    20: {Block.BASIC: (2, 2, 3, 2)},
    34: {Block.BASIC: (3, 4, 6, 3)},
    50: {Block.BOTTLENECK: (3, 4, 6, 3)},
    56: {Block.BASIC: (6, 6, 9, 6)},
    101: {Block.BOTTLENECK: (3, 4, 23, 3)},
    110: {Block.BASIC: (9, 16, 20, 9), Block.BOTTLENECK: (3, 4, 26, 3)},
    152: {Block.BOTTLENECK: (3, 8, 36, 3)},
}
"""Blocks per stage by depth; the first kind of a depth is its default."""

PAPER_DEPTHS = (20, 32, 44, 56, 110, 1202)
"""Depths of he-resnet that the paper reports; any 6n+2 can be asked for."""


OFFERED_DEPTHS = (8, 14, 20, 26, 32, 38, 44, 50, 56, 110, 1202)
"""Depths of he-* to offer: the paper's, and small ones that train in minutes."""


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """Properties that distinguish an architecture."""

    num_stages: int
    """At the start of each stage but the first, the image size halves and the planes double."""
    width: int
    """Default planes of the first stage."""
    depths: tuple[int, ...]
    """Depths to offer, ascending; he-* exist at every 6n+2, see `has_depth`."""
    is_residual: bool = False
    """Whether its blocks have shortcuts."""
    has_projections: bool = False
    """Whether shortcuts between different shapes have a convolution; otherwise they have no parameters."""
    is_preact: bool = False
    """Whether its blocks normalise and activate before each convolution."""
    counterpart: Architecture
    """Architecture to compare with for the shortcut's effect; preact has none that differs only in the shortcut."""


_four_stages = functools.partial(Design, num_stages=4, width=64, depths=tuple(FOUR_STAGE_BLOCKS))
_three_stages = functools.partial(Design, num_stages=3, width=16, depths=OFFERED_DEPTHS)

ARCHITECTURES = {
    Architecture.RESNET: _four_stages(is_residual=True, has_projections=True, counterpart=Architecture.PLAIN),
    Architecture.PLAIN: _four_stages(counterpart=Architecture.RESNET),
    # The order of normalisation and convolution differs from plain's as well, but there is no nearer counterpart.
    Architecture.PREACT: _four_stages(
        is_residual=True, has_projections=True, is_preact=True, counterpart=Architecture.PLAIN
    ),
    Architecture.HE_RESNET: _three_stages(is_residual=True, counterpart=Architecture.HE_PLAIN),
    Architecture.HE_PLAIN: _three_stages(counterpart=Architecture.HE_RESNET),
}
"""Every architecture; `models/build.py` says which module builds it."""

THREE_STAGE = frozenset(name for name, design in ARCHITECTURES.items() if design.num_stages == 3)
"""Depth 6n+2 gives n basic blocks to each stage; four stages take theirs from FOUR_STAGE_BLOCKS."""

MAX_BLOCKS = 5000
MAX_WIDTH = 2048
MAX_CLASSES = 10_000


class FieldError(ValueError):
    """Invalid value of a field.

    Args:
        field: Name of the field.
        problem: What is wrong, the value and the remedy; follows the field's name.
        text: The whole text, where it does not begin with the field's name.
    """

    def __init__(self, field: str, problem: str = "", *, text: str = "") -> None:
        super().__init__(text or f"{field} {problem}")
        self.field = field

    def naming(self, name: str) -> str:
        """Error text with another name for the field, such as its option."""
        text = str(self)
        return name + text.removeprefix(self.field) if text.startswith(f"{self.field} ") else text


Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Any 64-bit integer, so that content with a longer one is refused where it is decoded."""


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Full specification of a network; `model_spec` makes one from user input."""

    architecture: Architecture
    depth: Whole
    """Weighted layers on the main path, as determined by `block` and `blocks`."""
    block: Block
    blocks: tuple[Whole, ...]
    """Blocks per stage: four numbers, three for he-*."""
    width: Whole
    """Planes of the first stage; each later stage has twice those of the one before."""
    conv_bias: bool = False
    """Whether the convolutions on the blocks' main path have a bias, as in the report; the stem never does."""
    projection_bias: bool = False
    """Whether the projections' convolutions have a bias, as in the report; only in networks with projections."""
    norm: Norm = Norm.BATCH
    num_classes: Whole = 10

    @property
    def design(self) -> Design:
        """Properties of its architecture."""
        return ARCHITECTURES[self.architecture]

    def __post_init__(self) -> None:
        stages = self.design.num_stages
        if len(self.blocks) != stages:
            raise FieldError(
                "blocks",
                text=f"{self.architecture} has {stages} stages and takes {stages} numbers of blocks, "
                f"got {len(self.blocks)} (blocks {_joined(self.blocks)})",
            )
        if min(self.blocks) < 1:
            raise FieldError("blocks", text=f"every stage needs at least 1 block, got blocks {_joined(self.blocks)}")
        if sum(self.blocks) > MAX_BLOCKS:
            raise FieldError(
                "depth",
                text=f"a network may have at most {MAX_BLOCKS} blocks, got {sum(self.blocks)} (depth {self.depth}): "
                "ask for a smaller depth",
            )
        if self.architecture in THREE_STAGE and self.block != Block.BASIC:
            raise FieldError(
                "block", text=f"{self.architecture} is made of basic blocks only, got block {self.block}: use basic"
            )
        depth = depth_of(self.block, self.blocks)
        if self.depth != depth:
            raise FieldError(
                "depth",
                f"must be {depth} for {self.block} blocks {_joined(self.blocks)}, got {self.depth}: "
                "leave the depth out, or change the blocks",
            )
        if not 1 <= self.width <= MAX_WIDTH:
            raise FieldError("width", f"must be in 1..{MAX_WIDTH} (planes of the first stage), got {self.width}")
        if not 2 <= self.num_classes <= MAX_CLASSES:
            raise FieldError("num_classes", f"must be in 2..{MAX_CLASSES}, got {self.num_classes}")
        if self.projection_bias and not self.design.has_projections:
            raise FieldError("projection_bias", text=f"{self.architecture} has no projections to give a bias")


def depth_of(block: Block, blocks: Sequence[int]) -> int:
    """Weighted layers on the main path: the blocks' convolutions, the stem and the classifier."""
    return sum(blocks) * CONVOLUTIONS[block] + 2


def model_spec(
    architecture: str,
    depth: int | None,
    *,
    block: str | None = None,
    blocks: Sequence[int] | None = None,
    width: int | None = None,
    conv_bias: bool = False,
    projection_bias: bool = False,
    norm: str = "batch",
    num_classes: int = 10,
) -> ModelSpec:
    """Resolve user input into a network's specification.

    Args:
        architecture: Name of an Architecture, in any case, with `_` or `-`.
        depth: A depth of the catalogue; None where `blocks` says it.
        block: Name of a Block. None takes the catalogue's kind for the depth, with explicit blocks the kind that
            gives the depth, and basic where no depth is named.
        blocks: Blocks per stage, for networks outside the catalogue.
        width: Planes of the first stage; None takes 64, and 16 for he-*.
        conv_bias: Give the convolutions on the blocks' main path a bias.
        projection_bias: Give the projections a bias; without effect on plain, so that a comparison can ask for it.
        norm: Name of a Norm.
        num_classes: Outputs of the classifier.

    Raises:
        ValueError: A name is unknown, the depth does not exist, or the parts contradict each other.
    """
    kind = _parse(Architecture, architecture)
    design = ARCHITECTURES[kind]
    wanted = None if block is None else _parse(Block, block)
    if blocks is not None:
        chosen = wanted or _block_giving(depth, blocks)
        counts = tuple(blocks)
        if depth is None:
            depth = depth_of(chosen, counts)
    elif depth is None:
        raise FieldError(
            "depth",
            text=f"{kind} needs a depth ({_enumerated(design.depths, 'or')}) or explicit blocks per stage, got neither",
        )
    elif kind in THREE_STAGE:
        chosen = wanted or Block.BASIC
        counts = _three_stage_blocks(kind, depth)
    else:
        chosen, counts = _four_stage_blocks(kind, depth, wanted)
    return ModelSpec(
        architecture=kind,
        depth=depth,
        block=chosen,
        blocks=counts,
        width=design.width if width is None else width,
        conv_bias=conv_bias,
        projection_bias=projection_bias and kind is not Architecture.PLAIN,
        norm=_parse(Norm, norm),
        num_classes=num_classes,
    )


def has_depth(architecture: Architecture, depth: int) -> bool:
    """Whether an architecture exists at a depth without explicit blocks."""
    if architecture in THREE_STAGE:
        return depth >= 8 and depth % 6 == 2
    return depth in FOUR_STAGE_BLOCKS


def label(spec: ModelSpec) -> str:
    """Return a short unique name of a network: "resnet110", "he-plain56-w8", "plain14-b1.2.2.1".

    Only what differs from the catalogue's choice for the architecture and depth is named.
    """
    if spec.architecture in THREE_STAGE:
        catalogued: dict[Block, tuple[int, ...]] = {Block.BASIC: (sum(spec.blocks) // 3,) * 3}
    else:
        catalogued = FOUR_STAGE_BLOCKS.get(spec.depth, {})
    parts = [f"{spec.architecture}{spec.depth}"]
    if spec.block != next(iter(catalogued), Block.BASIC):
        parts.append(spec.block)
    if spec.blocks != catalogued.get(spec.block):
        parts.append("b" + ".".join(map(str, spec.blocks)))
    if spec.width != spec.design.width:
        parts.append(f"w{spec.width}")
    if spec.norm == Norm.NONE:
        parts.append("nonorm")
    if spec.conv_bias:
        parts.append("bias")
    if spec.projection_bias:
        parts.append("projbias")
    if spec.num_classes != 10:
        parts.append(f"c{spec.num_classes}")
    return "-".join(parts)


def _block_giving(depth: int | None, blocks: Sequence[int]) -> Block:
    """Kind of block with which explicit blocks give the depth, which is unique; basic if there is none."""
    return next((block for block in Block if depth_of(block, blocks) == depth), Block.BASIC)


def _three_stage_blocks(architecture: Architecture, depth: int) -> tuple[int, ...]:
    n, remainder = divmod(depth - 2, 6)
    if n < 1:
        raise FieldError("depth", f"{depth} does not exist for {architecture}: depths are 6n+2, the smallest is 8")
    if remainder:
        nearest = f"the nearest are {6 * n + 2} and {6 * n + 8}"
        raise FieldError("depth", f"{depth} does not exist for {architecture}: depths are 6n+2, {nearest}")
    return (n, n, n)


def _four_stage_blocks(architecture: Architecture, depth: int, wanted: Block | None) -> tuple[Block, tuple[int, ...]]:
    catalogued = FOUR_STAGE_BLOCKS.get(depth)
    if catalogued is None:
        depths = ARCHITECTURES[architecture].depths
        nearest = min(depths, key=lambda known: abs(known - depth))
        raise FieldError(
            "depth",
            f"{depth} does not exist for {architecture}: depths are {_enumerated(depths, 'and')}, "
            f"the nearest is {nearest}; any other needs explicit blocks per stage",
        )
    chosen = next(iter(catalogued)) if wanted is None else wanted
    if chosen not in catalogued:
        depths = tuple(known for known, kinds in FOUR_STAGE_BLOCKS.items() if chosen in kinds)
        raise FieldError(
            "depth",
            f"{depth} does not exist for {architecture} with {chosen} blocks: depths are "
            f"{_enumerated(depths, 'and')}; any other needs explicit blocks per stage",
        )
    return chosen, catalogued[chosen]


def _parse(choices: type[Word], word: str) -> Word:
    name = word.strip().lower().replace("_", "-")
    known = [str(member) for member in choices]
    if name in known:
        return choices(name)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    field = choices.__name__.lower()
    raise FieldError(field, text=f"unknown {field} {word!r}: {hint}known are {_enumerated(known, 'and')}")


def _enumerated(items: Sequence[object], conjunction: str) -> str:
    *most, last = map(str, items)
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def _joined(blocks: Sequence[int]) -> str:
    return "-".join(map(str, blocks)) or "(empty)"
