"""Gather everything a report needs about an experiment."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from console.comparison.groups import Group, Pair, group_runs, pair_groups
from console.text.status import states
from engine.base.errors import UsageError
from engine.index.provenance import Provenance, read_provenance
from engine.index.queries import Reader
from engine.runs.journal import Epoch, Gradients
from engine.runs.run import Run, RunStatus
from engine.spec.recipes import recipe_label


@dataclass(frozen=True, slots=True)
class Facts:
    """Snapshot of an experiment."""

    experiment: str
    at: float
    """Unix time of the snapshot in seconds."""
    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    """Runs grouped by network, shallow before deep."""
    pairs: tuple[Pair, ...]
    epochs: dict[str, list[Epoch]]
    """By run id, as are the next two."""
    gradients: dict[str, list[Gradients]]
    provenance: dict[str, Provenance]

    def label(self, group: Group) -> str:
        """Name of a network, with its distinguishing settings if the experiment trained it in several ways."""
        alike = [other for other in self.groups if other.label == group.label]
        if len(alike) < 2:
            return group.label
        return f"{group.label} ({', '.join(differences(group.runs[0], [other.runs[0] for other in alike]))})"

    @property
    def is_synthetic(self) -> bool:
        return any(run.synthetic for run in self.runs)

    @property
    def is_jpeg(self) -> bool:
        return any("jpeg" in run.spec.data.name for run in self.runs)

    @property
    def data_names(self) -> str:
        """Names of the datasets, for captions."""
        return ", ".join(sorted({data_name(run) for run in self.runs}))


def data_name(run: Run) -> str:
    """Name of a run's dataset, marked if synthetic or JPEG."""
    name = run.spec.data.name
    if run.synthetic and name == "synthetic":
        return "synthetic images"
    if run.synthetic:
        return f"{name} (synthetic images)"
    if "jpeg" in name:
        # Imported copies may have any name.
        return "CIFAR-10 (JPEG)" if name.startswith("cifar10") else f"{name} (JPEG)"
    return {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "fashion-mnist": "Fashion-MNIST"}.get(name, name)


def differences(run: Run, others: Iterable[Run]) -> list[str]:
    """Data and recipe fields in which a run differs from others, with its values."""
    others = list(others)
    found = []
    for part in ("data", "recipe"):
        mine = getattr(run.spec, part)
        for name in type(mine).__struct_fields__:
            values = {str(getattr(getattr(other.spec, part), name)) for other in others}
            if len(values) > 1 and name != ("name" if part == "recipe" else ""):
                found.append(f"{name.replace('_', ' ')} {getattr(mine, name)}")
    return found or [recipe_label(run.spec.recipe)]


def gather_facts(reader: Reader, runs_directory: Path, experiment: str) -> Facts:
    """Read an experiment, and its runs' provenance from their journals in `runs_directory`.

    Raises:
        UsageError: the experiment does not exist, or none of its runs has a result.
    """
    runs = reader.runs(experiment=experiment)
    if not runs:
        raise reader.experiment_unknown(experiment)
    if not any(run.succeeded or run.stopped_early for run in runs):
        raise UsageError(f"{experiment} has no finished runs to report ({states(runs)}): {remedy(runs)}")
    groups = group_runs(runs)
    return Facts(
        experiment=experiment,
        at=time.time(),
        runs=tuple(runs),
        groups=tuple(groups),
        pairs=tuple(pair_groups(groups)),
        epochs={run.id: reader.epochs(run.id) for run in runs},
        gradients={run.id: reader.gradients(run.id) for run in runs},
        provenance={run.id: read_provenance(runs_directory, run) for run in runs},
    )


def remedy(runs: Sequence[Run]) -> str:
    """Suggest a command when none of the runs has a result."""
    if any(run.status in (RunStatus.QUEUED, RunStatus.RUNNING) or run.waits_for_disk for run in runs):
        return "wait for them with `depthscope wait`"
    if paused := next((run.id for run in runs if run.status is RunStatus.PAUSED), None):
        return f"resume with `depthscope resume {paused}`"
    return f"`depthscope show {runs[0].id}` shows why, `depthscope retry {runs[0].id}` tries again"
