"""The options that say which runs are meant, the same for every command that takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from console.planning.planning import Asked


Words = list[str]


def asked_for(
    architectures: Annotated[
        Words | None,
        typer.Option("-a", "--arch", help="resnet, plain, preact, he-resnet, he-plain; lists: a,b or repeated."),
    ] = None,
    depths: Annotated[
        Words | None, typer.Option("-d", "--depth", help="Depths, such as 20,56,110; he-*: any 6n+2.")
    ] = None,
    seeds: Annotated[
        Words | None,
        typer.Option("--seed", help="Seeds, such as 4,7."),
    ] = None,
    num_seeds: Annotated[Words | None, typer.Option("--seeds", help="How many: 3 takes seeds 0, 1 and 2.")] = None,
    block: Annotated[str | None, typer.Option(help="basic or bottleneck; the depth decides where left out.")] = None,
    blocks: Annotated[str | None, typer.Option(help="Blocks per stage, such as 3,4,6,3, instead of depths.")] = None,
    width: Annotated[int | None, typer.Option(help="Planes of the first stage (64; he-*: 16).")] = None,
    conv_bias: Annotated[bool, typer.Option("--conv-bias", help="Biases in the blocks' convolutions.")] = False,
    norm: Annotated[str, typer.Option(help="batch, or none: the vanishing gradient itself.")] = "batch",
    dataset: Annotated[str, typer.Option("--data", help="A dataset of `depthscope data ls`.")] = "cifar10",
    train_images: Annotated[int | None, typer.Option(help="Size of a class-balanced training subset.")] = None,
    test_images: Annotated[int | None, typer.Option(help="Size of a class-balanced test subset.")] = None,
    recipe: Annotated[str, typer.Option(help="reference, constant or quick.")] = "reference",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images an update.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", "--learning-rate", help="Base rate.")] = None,
    schedule: Annotated[str | None, typer.Option(help="step, constant or one-cycle.")] = None,
    drops: Annotated[str | None, typer.Option(help="Where a step schedule falls tenfold, such as 0.5,0.75.")] = None,
    warmup_rate: Annotated[float | None, typer.Option(help="Rate of the first steps (the paper's 110: 0.01).")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="Updates at the warm-up rate (400).")] = None,
    momentum: Annotated[float | None, typer.Option(help="Of SGD.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="On every parameter.")] = None,
    augment: Annotated[bool | None, typer.Option("--augment/--no-augment", help="Random crop and flip.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, tf32, bf16 or fp16; auto is the fastest native one.")
    ] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic/--no-deterministic", help="A GPU repeats itself to the last bit.")
    ] = None,
    checkpoint_activations: Annotated[
        bool | None,
        typer.Option("--checkpoint-activations/--keep-activations", help="Less memory, more time, the same numbers."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, or a GPU such as cuda:1; the first free one else.")] = None,
    memory_limit: Annotated[
        str | None, typer.Option(help="Take no more of the device than this, such as 6GiB; all of it else.")
    ] = None,
    stop_when: Annotated[
        str | None, typer.Option(help="not-learning: end a run early whose loss stays at that of guessing.")
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Change precision or checkpointing where a run needs it.")] = False,
    fit_batch: Annotated[bool, typer.Option("--fit-batch", help="The batch, too, which changes the result.")] = False,
) -> Asked:
    """What these options ask for.

    Raises:
        UsageError: no architecture is named, or a word among them is no number where one is needed.
    """
    from console.planning import planning
    from engine.base.errors import UsageError

    if not architectures:
        raise UsageError("an architecture is needed: -a resnet,plain")
    return planning.Asked(
        architectures=planning.split_words(architectures),
        depths=planning.whole_numbers(depths or [], "depth"),
        seeds=planning.seeds(seeds or [], num_seeds or []),
        block=block,
        blocks=None if blocks is None else planning.whole_numbers([blocks], "blocks"),
        width=width,
        conv_bias=conv_bias,
        norm=norm,
        dataset=dataset,
        train_images=train_images,
        test_images=test_images,
        recipe=recipe,
        overrides={
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "schedule": schedule,
            "drops": None if drops is None else planning.fractions(drops),
            "warmup_rate": warmup_rate,
            "warmup_steps": warmup_steps,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "augment": augment,
            "precision": precision,
            "deterministic": deterministic,
            "checkpoint_activations": checkpoint_activations,
        },
        device=device,
        memory_limit=memory_limit,
        stop_when=stop_when,
        fit=fit,
        fit_batch=fit_batch,
    )


def takes_runs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `asked_for`, before its own; it gets what they ask for as its first argument.

    A command with an option of the name `listed` gets None there where that option is given, which excludes the others.
    """
    described = inspect.signature(asked_for).parameters
    _, *own = inspect.signature(command).parameters.values()

    def with_options(**given: Any) -> None:
        words = {name: given.pop(name) for name in described}
        if given.get("listed") is None:
            with naming_options():
                command(asked_for(**words), **given)
            return
        refuse_beside_a_list([name for name, word in words.items() if word != described[name].default])
        command(None, **given)

    hints = {**option_hints(asked_for), **option_hints(command)}
    parameters = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in (*described.values(), *own)
    ]
    with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
    # Typer reads both.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def option_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a command's options, as types; what is no option may name a type that is not loaded."""
    return get_type_hints(function, localns={"Asked": object}, include_extras=True)


def refuse_beside_a_list(names: list[str]) -> None:
    """Refuse options that would change what a list of runs says in full.

    Raises:
        UsageError: there are some.
    """
    from engine.base.errors import UsageError

    if names:
        options = flags()
        words = ", ".join(options[name] for name in names)
        raise UsageError(f"--from trains the runs as the file says: leave out {words}")


def flags() -> dict[str, str]:
    """The option of every parameter of `asked_for`, as it is typed."""
    found = {}
    hints = option_hints(asked_for)
    for name in inspect.signature(asked_for).parameters:
        option = hints[name].__metadata__[0]
        # Within Annotated, typer keeps the first word of an option as its default.
        declared = [word for word in (option.default, *option.param_decls) if isinstance(word, str)] or [f"--{name}"]
        found[name] = declared[-1].split("/")[0].replace("_", "-")
    return found


@contextmanager
def naming_options() -> Iterator[None]:
    """Errors that begin with a field of a specification begin with the option for it instead.

    Raises:
        UsageError: the one from within, in these words.
    """
    from engine.base.errors import UsageError

    try:
        yield
    except UsageError as error:
        field, must, rest = str(error).partition(" must be ")
        name = field.replace("-", "_").replace(" ", "_").removesuffix("_bytes")
        option = flags().get(name)
        # There are two options for seeds, and what is wrong with them names the one that is meant.
        if not must or option is None or name == "seeds":
            raise
        raise UsageError(f"{option}{must}{rest}") from error


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunArguments = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Ids, beginnings of ids, names, or experiment/name.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="An id, the beginning of one, or a name.")]
ExperimentOption = Annotated[
    str | None, typer.Option("-e", "--experiment", help="Its name; one that exists gets the runs added.")
]
