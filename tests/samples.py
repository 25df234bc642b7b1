"""Homes with made-up runs in their index, for screens and speed measurements. No number is a result."""

from __future__ import annotations

import math
from typing import Any

from msgspec.structs import replace

from engine.base.paths import Home
from engine.estimates.duration import Pace, Workload
from engine.index.writer import Store
from engine.runs.directory import Labels
from engine.runs.journal import Epoch, Gradients, LayerGradients, Started, Step
from engine.runs.run import RunOutcome, RunStatus
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import DataSpec, RunSpec
from models.catalog import model_spec

NOW = 1_790_000_000.0
"""The samples' current time, in seconds since 1970."""
STEPS_PER_EPOCH = 391


def an_epoch(number: int, **changes: Any) -> Epoch:
    """Create an epoch row with arbitrary defaults."""
    row = Epoch(
        epoch=number,
        step=10 * number,
        train_loss=1.0,
        train_error_percent=50.0,
        test_loss=1.0,
        test_error_percent=50.0,
        learning_rate=0.1,
        images_per_second=10.0,
        seconds=1.0,
        peak_memory_bytes=1,
    )
    return replace(row, **changes)


def a_start(**changes: Any) -> Started:
    """Create the first journal line of a worker, by default on a CPU."""
    line = Started(
        pid=1,
        host="box",
        device="cpu",
        device_name="a processor",
        torch="2",
        num_threads=1,
        num_parameters=1,
        num_train=1,
        num_test=1,
        total_steps=100,
        data_sha256="0" * 64,
        synthetic=False,
    )
    return replace(line, **changes)


def a_pace(spec: RunSpec, **changes: Any) -> Pace:
    """Create a float32 pace with round defaults."""
    measured = Pace(
        workload=Workload.of(spec, Precision.FP32),
        device_name="a processor",
        torch="2.15",
        num_threads=2,
        seconds_per_step=0.1,
        seconds_per_evaluated_image=0.0001,
        seconds_per_checkpoint=0.1,
        seconds_to_begin=0.0,
        spread=0.0,
    )
    return replace(measured, **changes)


def sample_spec(architecture: str, depth: int, *, seed: int = 0, epochs: int = 164) -> RunSpec:
    return RunSpec(
        model=model_spec(architecture, depth),
        data=DataSpec(name="cifar10"),
        recipe=recipe("reference", epochs=epochs),
        seed=seed,
        device="cpu",
    )


def sample_epoch(epoch: int, *, floor: float, at: float) -> Epoch:
    """Create an epoch of a smoothly falling curve with a ripple, so that curves cross like real ones."""
    fall = math.exp(-epoch / 25)
    ripple = 0.05 * math.sin(epoch * 1.7) * fall
    return Epoch(
        epoch=epoch,
        step=epoch * STEPS_PER_EPOCH,
        at=at,
        train_loss=0.01 * floor + 2.2 * fall + ripple,
        train_error_percent=min(0.5 * floor + 80 * fall, 90.0),
        test_loss=0.03 * floor + 2.2 * fall + 2 * ripple,
        test_error_percent=min(floor + (88 - floor) * fall + 20 * ripple, 90.0),
        learning_rate=0.1 * 0.1 ** (2 * epoch > 164),
        images_per_second=1000.0 + 7 * epoch % 50,
        seconds=51.0,
        peak_memory_bytes=600 << 20,
    )


def sample_gradients(epoch: int, *, num_blocks: int) -> Gradients:
    """Create gradients of a three-stage network that shrink towards the stem; epochs 7, 17, … overflow."""
    names = [
        f"stage{stage}.block{block}.conv{conv}"
        for stage in (1, 2, 3)
        for block in range(1, num_blocks + 1)
        for conv in (1, 2)
    ]
    places = list(enumerate(["stem", *names, "head"]))
    last = places[-1][0]
    return Gradients(
        epoch=epoch,
        step=max(epoch * STEPS_PER_EPOCH, 1),
        layers=[
            LayerGradients(
                name=name,
                gradient_norm=None if epoch % 10 == 7 and place == 3 else 10 ** ((place / last - 1) * (1 + epoch / 20)),
                weight_norm=4.0 + place / last,
                update_ratio=None if epoch % 10 == 7 else 1e-3 * (2 + math.sin(place / 2)),
            )
            for place, name in places
        ],
    )


def add_gradients(store: Store, number: int, *, epochs: range, num_blocks: int) -> None:
    """Add gradients to an existing run; epochs outside the range have none, as in older runs."""
    rows = [sample_gradients(epoch, num_blocks=num_blocks) for epoch in epochs]
    store.ingest(f"{number:010x}", rows, [], end=0)


def add_sample(
    store: Store,
    number: int,
    architecture: str,
    depth: int,
    *,
    experiment: str,
    epochs_done: int,
    status: RunStatus = RunStatus.FINISHED,
    outcome: RunOutcome | None = RunOutcome.SUCCEEDED,
    floor: float = 8.0,
    error: str | None = None,
    seed: int = 0,
    total: int = 164,
) -> str:
    """Add a run with its epochs; return its id."""
    run = f"{number:010x}"
    spec = sample_spec(architecture, depth, seed=seed, epochs=total)
    labels = Labels(
        name=f"{architecture}{depth}-s{seed}", experiment=experiment, position=number, created_at=NOW - 9000 + number
    )
    store.add_run(run, spec, labels)
    begun = NOW - 8600
    events: list[Started | Epoch | Step] = []
    if epochs_done or status is RunStatus.RUNNING:
        events.append(
            a_start(
                at=begun,
                pid=4711,
                torch="2.10.0",
                num_threads=2,
                num_parameters=272_474,
                num_train=50_000,
                num_test=10_000,
                total_steps=total * STEPS_PER_EPOCH,
            )
        )
    for epoch in range(1, epochs_done + 1):
        events.append(sample_epoch(epoch, floor=floor, at=begun + 51 * epoch))
    store.ingest(run, events, [], end=0)
    if status is RunStatus.RUNNING:
        store.set_running(run, "cpu", started_at=begun)
        store.ingest(run, [sample_step(epochs_done * STEPS_PER_EPOCH + 100, epochs_done + 1, at=NOW - 1)], [], end=0)
    else:
        finished_at = begun + 51 * epochs_done if status is RunStatus.FINISHED else None
        store.set_status(run, status, outcome=outcome, error=error, finished_at=finished_at)
    return run


def sample_step(step: int, epoch: int, *, at: float) -> Step:
    return Step(
        step=step,
        epoch=epoch,
        at=at,
        train_loss=0.4 + 0.3 * math.sin(step / 300),
        train_error_percent=12.0,
        learning_rate=0.1,
        images_per_second=1012.0,
    )


def fill_small(home: Home) -> None:
    """Add a dozen runs that cover every state."""
    store = Store(home.database)
    with store.transaction():
        finished = (("he-resnet", 20, 8.1), ("he-plain", 20, 8.9), ("he-resnet", 56, 7.0), ("he-plain", 56, 13.4))
        for number, (architecture, depth, floor) in enumerate(finished, 1):
            add_sample(store, number, architecture, depth, experiment="depths", epochs_done=164, floor=floor)
        for epochs in (range(60), range(70, 165)):
            add_gradients(store, 1, epochs=epochs, num_blocks=3)
        for seed in (1, 2):
            add_sample(
                store,
                4 + seed,
                "he-resnet",
                20,
                experiment="depths",
                epochs_done=164,
                floor=8.1 + 0.2 * seed,
                seed=seed,
            )
        common = {"experiment": "deep", "outcome": None}
        running = {**common, "status": RunStatus.RUNNING}
        add_sample(store, 7, "resnet", 110, epochs_done=82, floor=7.9, **running)
        add_sample(store, 8, "plain", 110, epochs_done=41, floor=80.0, **running)
        add_sample(store, 9, "preact", 110, epochs_done=0, status=RunStatus.QUEUED, **common)
        add_sample(store, 10, "plain", 152, epochs_done=12, status=RunStatus.PAUSED, floor=60.0, **common)
        ended = {"experiment": "broken"}
        add_sample(store, 11, "plain", 56, outcome=RunOutcome.DIVERGED, epochs_done=9, floor=60.0, **ended)
        add_sample(
            store,
            12,
            "resnet",
            56,
            outcome=RunOutcome.FAILED,
            error="Traceback\nRuntimeError: CUDA out of memory: [red]2.00 GiB[/red] \x1b[31mwanted",
            epochs_done=5,
            floor=30.0,
            **ended,
        )
        add_sample(store, 13, "resnet", 18, outcome=RunOutcome.CANCELLED, epochs_done=14, floor=20.0, **ended)
    store.close()


def fill_depths(home: Home) -> None:
    """Add residual and plain networks of three depths with three seeds each, the last still running."""
    floors = {("he-resnet", 20): 8.8, ("he-plain", 20): 9.4, ("he-resnet", 56): 7.0, ("he-plain", 56): 24.0}
    store = Store(home.database)
    with store.transaction():
        for number, seed in enumerate((0, 1, 2)):
            for place, ((architecture, depth), floor) in enumerate(
                {**floors, ("he-resnet", 110): 6.5, ("he-plain", 110): 80.0}.items()
            ):
                is_running = seed == 2 and depth == 110
                add_sample(
                    store,
                    6 * number + place + 1,
                    architecture,
                    depth,
                    experiment="degradation",
                    epochs_done=90 if is_running else 164,
                    status=RunStatus.RUNNING if is_running else RunStatus.FINISHED,
                    outcome=None if is_running else RunOutcome.SUCCEEDED,
                    floor=floor * (1 + 0.03 * seed * (1 if architecture == "he-plain" else -1)),
                    seed=seed,
                )
    store.close()


def fill_large(home: Home, *, first: int = 0, num_runs: int = 1000, epochs: int = 164) -> None:
    """Add many finished runs in experiments of six, numbered consecutively."""
    store = Store(home.database)
    with store.transaction():
        for number in range(first, first + num_runs):
            add_sample(
                store,
                number,
                ("resnet", "plain")[number % 2],
                (20, 56, 110)[number % 3],
                experiment=f"exp{number // 6}",
                epochs_done=epochs,
                floor=8.0 + number % 7,
                seed=number // 6,
            )
    store.close()
