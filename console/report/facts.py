"""Everything that a report says of an experiment, gathered in one reading."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from console.comparison.groups import Group, Pair, group_runs, pair_groups
from engine.base.errors import UsageError
from engine.index.provenance import Provenance, read_provenance
from engine.index.queries import Reader
from engine.runs.journal import Epoch
from engine.runs.run import GradientRow, Run, RunStatus
from models import catalog


@dataclass(frozen=True, slots=True)
class Facts:
    """An experiment as far as it has come."""

    experiment: str
    at: float
    """When it was looked at, seconds since 1970."""
    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    """Networks over their seeds, shallow before deep."""
    pairs: tuple[Pair, ...]
    epochs: dict[str, list[Epoch]]
    """By run, as are the next two."""
    gradients: dict[str, list[GradientRow]]
    provenance: dict[str, Provenance]

    def label(self, group: Group) -> str:
        """A network's name; where the experiment trained it in several ways, with what tells this one."""
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
    def data_words(self) -> str:
        """What the numbers were measured on, short enough to stand beside each of them."""
        return ", ".join(sorted({data_name(run) for run in self.runs}))


def data_name(run: Run) -> str:
    """A dataset with what must be said beside its numbers."""
    name = run.spec.data.name
    if run.synthetic and name == "synthetic":
        return "synthetic images"
    if run.synthetic:
        return f"{name} (synthetic images)"
    if "jpeg" in name:
        # An imported copy keeps the name that its user gave it.
        return "CIFAR-10 (JPEG)" if name.startswith("cifar10") else f"{name} (JPEG)"
    return {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "fashion-mnist": "Fashion-MNIST"}.get(name, name)


def differences(run: Run, others: Iterable[Run]) -> list[str]:
    """Fields of data and recipe in which a run differs from others, with its own values."""
    others = list(others)
    found = []
    for part in ("data", "recipe"):
        mine = getattr(run.spec, part)
        for name in type(mine).__struct_fields__:
            values = {str(getattr(getattr(other.spec, part), name)) for other in others}
            if len(values) > 1 and name != ("name" if part == "recipe" else ""):
                found.append(f"{name.replace('_', ' ')} {getattr(mine, name)}")
    return found or [run.spec.recipe.name]


def gather_facts(reader: Reader, runs_directory: Path, experiment: str) -> Facts:
    """Read an experiment.

    Args:
        reader: Of the index.
        runs_directory: Where the journals are.
        experiment: Its name.

    Raises:
        UsageError: there is none of the name, or every run of it goes on or has failed.
    """
    runs = reader.runs(experiment=experiment)
    if not runs:
        raise reader.experiment_unknown(experiment)
    if not any(run.succeeded or run.stopped_early for run in runs):
        raise UsageError(f"{experiment} has no finished run to report: {states(runs)}; {remedy(runs)}")
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
    """What helps where none of an experiment's runs has a result."""
    if any(run.status in (RunStatus.QUEUED, RunStatus.RUNNING) or run.waits_for_disk for run in runs):
        return "`depthscope wait` waits for them"
    if paused := next((run.id for run in runs if run.status is RunStatus.PAUSED), None):
        return f"`depthscope resume {paused}` goes on"
    return f"`depthscope show {runs[0].id}` tells why, `depthscope retry {runs[0].id}` tries it again"


def states(runs: Sequence[Run]) -> str:
    """How many runs are in which state: 2 running, 1 failed."""
    words = [str(run.outcome or run.status) for run in runs]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))


def plain_label(run: Run) -> str:
    """A run among the others of its network."""
    return f"{catalog.label(run.spec.model)} seed {run.spec.seed}"
