"""`depthscope bench`: time depthscope's training loop against a textbook loop."""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands.run_options import JsonOption

Words = list[str]


def bench(
    architectures: Annotated[Words | None, typer.Option("-a", "--arch", help="Default: he-resnet.")] = None,
    depths: Annotated[Words | None, typer.Option("-d", "--depth", help="Default: 20.")] = None,
    width: Annotated[int | None, typer.Option(help="Planes of the first stage (64; he-*: 16).")] = None,
    block: Annotated[str | None, typer.Option(help="basic or bottleneck; the default depends on the depth.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Batch size (128).")] = None,
    precision: Annotated[str | None, typer.Option(help="Of depthscope's loop; default: auto (textbook: fp32).")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, or a GPU such as cuda:1; default: the first GPU.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Number of turns of each loop.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a turn.")] = 8.0,
    as_json: JsonOption = False,
) -> None:
    """Time depthscope's training loop against a textbook loop."""
    from console.planning import planning
    from console.planning.options import BY_NAME, RunOptions
    from console.programs import bench
    from console.text.output import narrate, print_json
    from engine.base.paths import find_home
    from engine.control import launch
    from engine.spec import devices
    from models import catalog

    home = find_home()
    options = RunOptions(
        architectures=BY_NAME["architectures"].parse(",".join(architectures or ["he-resnet"])),
        depths=BY_NAME["depths"].parse(",".join(depths or ["20"])),
        block=block,
        width=width,
        dataset="synthetic",
        batch_size=batch_size,
        precision=precision,
        device=device,
    )
    planned = planning.plan_runs(home, options)
    chosen = devices.candidates(device, devices.find_devices())[0]
    greeting = launch.greet(home)
    if greeting is not None and greeting.num_running:
        narrate(f"{greeting.num_running} runs are training and will slow this down: `depthscope pause` them first")
    results = [
        bench.bench_network(
            catalog.label(run.spec.model), run.spec, chosen, trials=trials, seconds=seconds, report=narrate
        )
        for run in planned
    ]
    if as_json:
        print_json(bench.bench_document(results, trials=trials, seconds=seconds))
    else:
        typer.echo(bench.conditions(results, trials=trials, seconds=seconds))
        typer.echo(bench.bench_table(results))
    if any(result.ratio is None for result in results):
        raise typer.Exit(1)
