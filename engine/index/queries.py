"""Queries of the index; each reads one consistent snapshot."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import msgspec

from engine.analysis.digest import TELLING
from engine.base.decoding import decoder
from engine.base.errors import DepthscopeError, UsageError
from engine.base.near_names import hint
from engine.estimates.duration import Pace, Truth, Workload
from engine.index.reader import IndexReader
from engine.index.rows import LAYER_COLUMNS, kept_columns
from engine.runs.journal import Epoch, Gradients, LayerGradients, Step
from engine.runs.run import EventRow, Intent, Run, RunOutcome, RunStatus
from engine.spec.estimate import Estimate
from engine.spec.precision import Precision
from engine.spec.run import RunSpec

RUN_COLUMNS = ", ".join(Run.__struct_fields__)
EPOCH_COLUMNS, STEP_COLUMNS = kept_columns(Epoch), kept_columns(Step)
PACE_COLUMNS = "spec, precision, device_name, torch, num_threads, num_train, num_test, started_at"
MOST_PACES = 300
"""Newest runs used for estimates."""

_decode_spec = decoder(RunSpec)
_decode_tags = decoder(tuple[str, ...])
_decode_counts = decoder(tuple[int, ...])
_decode_estimate = decoder(Estimate)


class RunUnknown(DepthscopeError):
    """A run is not in the index."""

    def __init__(self, run: str, why: str = "is the index being rebuilt?") -> None:
        super().__init__(f"{run} is not in the index: {why}")
        self.run = run


class Reader(IndexReader):
    """Read-only view of the index."""

    def runs(
        self, *, experiment: str | None = None, with_deleted: bool = False, newest: int | None = None
    ) -> list[Run]:
        """Runs of all experiments or one, in order of submission.

        Args:
            experiment: Name of the experiment; None for all.
            with_deleted: Whether to include removed runs.
            newest: Limit to the runs submitted last; None for all.
        """
        where = "WHERE (?1 IS NULL OR experiment = ?1) AND (?2 OR deleted_at IS NULL)"
        if newest is None:
            return self._runs(where, experiment, with_deleted)
        last = f"SELECT id FROM runs {where} ORDER BY position DESC, id DESC LIMIT ?3"
        return self._runs(f"WHERE id IN ({last})", experiment, with_deleted, newest)

    def ids(self) -> set[str]:
        """Ids of all runs, including removed ones."""
        return {row[0] for row in self._rows("SELECT id FROM runs")}

    def count_runs(self, *, experiment: str | None = None, with_deleted: bool = False) -> int:
        """Number of runs that `runs` returns without a limit."""
        query = "SELECT count(*) FROM runs WHERE (?1 IS NULL OR experiment = ?1) AND (?2 OR deleted_at IS NULL)"
        return sum(row[0] for row in self._rows(query, experiment, with_deleted))

    def changed_runs(self, *, after: int) -> tuple[list[Run], int]:
        """Runs changed after a revision, including removed ones, in order of submission; and the newest revision."""
        rows = self._rows(f"SELECT {RUN_COLUMNS}, revision FROM runs WHERE revision > ? ORDER BY position, id", after)
        return [_run(row[:-1]) for row in rows], max((row[-1] for row in rows), default=after)

    def newest_revision(self) -> int:
        """Revision of the run that changed last; 0 without runs."""
        return sum(row[0] for row in self._rows("SELECT coalesce(max(revision), 0) FROM runs"))

    def runs_before(self, place: tuple[int, str] | None, *, limit: int) -> list[Run]:
        """Runs submitted before a given one, newest first.

        Args:
            place: Position and id of the given run; None starts with the newest.
            limit: Most runs to read.
        """
        before = "deleted_at IS NULL AND (?1 IS NULL OR (position, id) < (?1, ?2))"
        position, id = place or (None, None)
        return self._runs(f"WHERE {before}", position, id, order=f"position DESC, id DESC LIMIT {limit:d}")

    def standing_runs(self, ids: Iterable[str], *, num_changed: int) -> list[Run]:
        """Queued and running runs, those with given ids, and the last changed ones, in order of submission."""
        named = msgspec.json.encode(sorted(ids)).decode()
        return self._runs(
            "WHERE deleted_at IS NULL AND (status IN ('queued', 'running') OR id IN (SELECT value FROM json_each(?))"
            " OR id IN (SELECT id FROM runs ORDER BY revision DESC LIMIT ?))",
            named,
            num_changed,
        )

    def unfinished_runs(self) -> list[Run]:
        """Queued and running runs, in queue order."""
        return self._runs("WHERE status IN ('queued', 'running') AND deleted_at IS NULL", order="place, position, id")

    def waiting_for_disk(self) -> list[Run]:
        """Runs paused until the disk is writable, in queue order."""
        return self._runs(
            "WHERE status = 'paused' AND intent = 'run' AND deleted_at IS NULL", order="place, position, id"
        )

    def has_running(self) -> bool:
        """Whether a run is training according to the index."""
        return bool(self._rows("SELECT 1 FROM runs WHERE status = 'running' LIMIT 1"))

    def run(self, run: str) -> Run:
        """Run by its full id.

        Raises:
            RunUnknown: it is not in the index, which may be incomplete during a rebuild.
        """
        found = self._runs("WHERE id = ?", run)
        if not found:
            raise RunUnknown(run)
        return found[0]

    def unreadable_directories(self) -> list[tuple[str, str]]:
        """Directories in runs/ that are in no other list because they cannot be read: name, and why with the remedy."""
        return [(name, why) for name, why in self._rows("SELECT name, why FROM unreadable ORDER BY name")]

    def unreadable_runs(self) -> list[Run]:
        """Runs whose directories cannot be read, in order of submission."""
        return self._runs("WHERE unreadable IS NOT NULL")

    def latest_experiment(self) -> str | None:
        """Experiment of the run submitted last."""
        rows = self._rows("SELECT experiment FROM runs WHERE deleted_at IS NULL ORDER BY position DESC LIMIT 1")
        return rows[0][0] if rows else None

    def experiment_unknown(self, name: str) -> UsageError:
        """Error for an unknown experiment, with the nearest name."""
        near = hint(name, self._names("experiment"))
        return UsageError(f"no experiment is called {name!r}: `depthscope ls` shows their names{near}")

    def _names(self, column: str) -> list[str]:
        return [row[0] for row in self._rows(f"SELECT DISTINCT {column} FROM runs WHERE deleted_at IS NULL ORDER BY 1")]

    def find(self, word: str, *, or_experiment: bool = False) -> Run:
        """Find a run by id, the beginning of an id, name, or experiment/name.

        Args:
            or_experiment: Whether the error may suggest experiments as well.

        Raises:
            UsageError: no run matches, or several do.
        """
        found = self._runs("WHERE id = ? OR name = ? OR experiment || '/' || name = ?", word, word, word)
        if not found and word:
            found = self._runs("WHERE substr(id, 1, length(?1)) = ?1", word.lower())
        alive = [run for run in found if run.deleted_at is None] or found
        if len(alive) == 1:
            return alive[0]
        if not alive:
            if of_it := self._runs("WHERE experiment = ? AND deleted_at IS NULL", word):
                raise UsageError(
                    f"{word!r} is an experiment, but a single run is needed, such as {self._address(of_it[0])};"
                    f" `depthscope ls {word}` lists its runs; `compare`, `plot`, `follow` and `wait` accept experiments"
                )
            meant = self._addresses()
            known = [*meant, *(name for name in self._names("experiment") * or_experiment if name not in meant)]
            raise UsageError(
                f"no run is called {word!r}: `depthscope ls` shows ids and names{hint(word, known, meant)}"
            )
        shown = ", ".join(f"{run.id} ({run.experiment}/{run.name})" for run in alive[:5])
        more = f" and {len(alive) - 5} more" if len(alive) > 5 else ""
        raise UsageError(f"{word!r} matches {len(alive)} runs: {shown}{more}; name one by its id")

    def _addresses(self) -> dict[str, list[str]]:
        """What finds each run alone, by its name and by experiment/name: the name, experiment/name, or else the id."""
        runs = self._rows("SELECT id, name, experiment || '/' || name FROM runs WHERE deleted_at IS NULL ORDER BY 2, 1")
        num = Counter(word for row in runs for word in row)
        found: dict[str, list[str]] = {}
        for id, name, full in runs:
            address = next(word for word in (name, full, id) if num[word] == 1)
            found.setdefault(name, []).append(address)
            found.setdefault(full, []).append(full if num[full] == 1 else id)
        return found

    def _address(self, run: Run) -> str:
        """Shortest of experiment/name and id that finds a run alone."""
        full = f"{run.experiment}/{run.name}"
        return full if self._addresses().get(full) == [full] else run.id

    def names_run(self, word: str) -> bool:
        """Whether a word is the id or name of a run, or experiment/name."""
        return bool(self._runs("WHERE id = ? OR name = ? OR experiment || '/' || name = ?", word, word, word))

    def epochs(self, run: str, *, after: int = 0) -> list[Epoch]:
        """Epochs of a run after a given epoch."""
        rows = self._rows(f"SELECT {EPOCH_COLUMNS} FROM epochs WHERE run = ? AND epoch > ? ORDER BY epoch", run, after)
        names = EPOCH_COLUMNS.split(", ")
        return [Epoch(**dict(zip(names, row, strict=True))) for row in rows]

    def steps(self, run: str, *, after: int = 0) -> list[Step]:
        """Progress of a run after a given step."""
        rows = self._rows(f"SELECT {STEP_COLUMNS} FROM steps WHERE run = ? AND step > ? ORDER BY step", run, after)
        names = STEP_COLUMNS.split(", ")
        return [Step(**dict(zip(names, row, strict=True))) for row in rows]

    def gradients(self, run: str, *, after: int = -1) -> list[Gradients]:
        """Norms of a run's layers after an epoch, in order; epoch 0 is initialisation."""
        return self._gradients("epoch > ?2", run, after)

    def _gradients(self, condition: str, *parameters: Any) -> list[Gradients]:
        rows = self._rows(
            f"SELECT epoch, step, {LAYER_COLUMNS} FROM gradients WHERE run = ?1 AND {condition}"
            " ORDER BY epoch, position",
            *parameters,
        )
        names = LayerGradients.__struct_fields__
        return [
            Gradients(
                epoch=epoch,
                step=step,
                layers=[LayerGradients(**dict(zip(names, row[2:], strict=True))) for row in layers],
            )
            for (epoch, step), layers in groupby(rows, key=lambda row: row[:2])
        ]

    def first_and_newest_gradients(self, run: str) -> list[Gradients]:
        """Norms of a run's layers at initialisation and in the last two measured epochs, from stem to head."""
        return self._gradients("(epoch = 0 OR epoch >= (SELECT max(epoch) - 1 FROM gradients WHERE run = ?1))", run)

    def layer_ranges(self, experiment: str) -> dict[str, tuple[float, float]]:
        """Smallest positive and largest value among all layers of an experiment's runs, by field.

        Fields without any positive value are left out.
        """
        fields = ("gradient_norm", "weight_norm", "update_ratio")
        ends = ", ".join(f"min(CASE WHEN {name} > 0 THEN {name} END), max({name})" for name in fields)
        found = self._rows(
            f"SELECT {ends} FROM gradients WHERE run IN"
            " (SELECT id FROM runs WHERE experiment = ? AND deleted_at IS NULL)",
            experiment,
        )
        triples = (triple for row in found for triple in zip(fields, row[::2], row[1::2], strict=True))
        return {name: (low, high) for name, low, high in triples if low is not None}

    def events(self, run: str) -> list[EventRow]:
        """Events of a run, oldest first."""
        rows = self._rows("SELECT at, kind, text FROM events WHERE run = ? ORDER BY id", run)
        return [EventRow(at=at, kind=kind, text=text) for at, kind, text in rows]

    def notable_events(self, *, since: float) -> dict[str, list[EventRow]]:
        """Starts and ends of workers, by run id and oldest first, for runs not finished before a moment."""
        rows = self._rows(
            "SELECT run, at, kind, text, heard_at FROM events LEFT JOIN lives USING (run, journal_seq)"
            f" WHERE kind IN ({', '.join('?' * len(TELLING))}) AND run IN"
            " (SELECT id FROM runs WHERE finished_at IS NULL OR finished_at >= ?) ORDER BY at, id",
            *TELLING,
            since,
        )
        found: dict[str, list[EventRow]] = {}
        for run, at, kind, text, heard_at in rows:
            found.setdefault(run, []).append(EventRow(at=at, kind=kind, text=text, heard_at=heard_at))
        return found

    def paces(self) -> list[Pace]:
        """Paces of past runs in order of submission, averaged over epochs without the first if there are others."""
        rows = self._rows(
            f"SELECT {PACE_COLUMNS}, avg(1 / epochs.images_per_second), avg(epochs.seconds),"
            " avg(epochs.seconds * epochs.seconds),"
            " (SELECT avg(seconds) FROM checkpoints WHERE checkpoints.run = newest.id),"
            " (SELECT seconds FROM epochs WHERE epochs.run = newest.id AND epochs.epoch = 1)"
            f" FROM (SELECT id, position, epoch, {PACE_COLUMNS} FROM runs"
            "  WHERE epoch > 0 AND device_name IS NOT NULL AND num_train IS NOT NULL ORDER BY position DESC LIMIT ?)"
            " AS newest JOIN epochs ON epochs.run = newest.id"
            " WHERE epochs.images_per_second > 0 AND (epochs.epoch > 1 OR newest.epoch < 3)"
            " GROUP BY newest.id ORDER BY newest.position",
            MOST_PACES,
        )
        return [_pace(*row) for row in rows]

    def truths(self) -> list[Truth]:
        """Estimated and actual times of runs that succeeded and had an estimate."""
        runs = self._runs("WHERE outcome = 'succeeded' AND estimate IS NOT NULL AND seconds > 0")
        return [
            Truth(run=run.id, estimate=run.estimate, seconds=run.taken_seconds)
            for run in runs
            if run.estimate is not None
        ]

    def seconds_around_training(self) -> float:
        """Time a run takes beyond its epochs, from its worker's start to its end: the median of past runs trained by a
        single worker.
        """
        rows = self._rows(
            "SELECT worker_seconds - seconds - checkpoint_seconds FROM runs"
            " WHERE outcome = 'succeeded' AND seconds > 0 AND worker_seconds IS NOT NULL"
            " ORDER BY position DESC LIMIT ?",
            MOST_PACES,
        )
        return max(0.0, statistics.median(row[0] for row in rows)) if rows else 0.0

    def _runs(self, where: str, *parameters: Any, order: str = "position, id") -> list[Run]:
        rows = self._rows(f"SELECT {RUN_COLUMNS} FROM runs {where} ORDER BY {order}", *parameters)
        return [_run(row) for row in rows]


def _pace(
    spec_text: str,
    precision: str,
    device_name: str,
    torch: str,
    num_threads: int,
    num_train: int,
    num_test: int,
    started_at: float | None,
    seconds_per_image: float,
    seconds_per_epoch: float,
    mean_of_squares: float,
    seconds_per_checkpoint: float | None,
    seconds_of_first_epoch: float | None,
) -> Pace:
    """Pace from a row of `Reader.paces`."""
    spec = _decode_spec(spec_text)
    sizes = spec.data.sizes(num_train=num_train, num_test=num_test)
    num_evaluated = sizes.each_epoch + sizes.once / spec.recipe.epochs
    evaluation = max(0.0, seconds_per_epoch - num_train * seconds_per_image)
    variance = max(0.0, mean_of_squares - seconds_per_epoch**2)
    return Pace(
        workload=Workload.of(spec, Precision(precision)),
        device_name=device_name,
        torch=torch,
        num_threads=num_threads,
        seconds_per_step=seconds_per_image * spec.recipe.batch_size,
        seconds_per_evaluated_image=evaluation / num_evaluated,
        seconds_per_checkpoint=seconds_per_checkpoint or 0.0,
        seconds_to_begin=max(0.0, (seconds_of_first_epoch or 0.0) - seconds_per_epoch),
        spread=math.sqrt(variance) / seconds_per_epoch,
        at=started_at or 0.0,
    )


def _run(row: tuple[Any, ...]) -> Run:
    """Run from a row with RUN_COLUMNS, in the order of Run's fields."""
    fields = dict(zip(Run.__struct_fields__, row, strict=True))
    outcome, precision = fields["outcome"], fields["precision"]
    return Run(
        **{
            **fields,
            "spec": _decode_spec(fields["spec"]),
            "status": RunStatus(fields["status"]),
            "outcome": None if outcome is None else RunOutcome(outcome),
            "intent": Intent(fields["intent"]),
            "held": bool(fields["held"]),
            "precision": None if precision is None else Precision(precision),
            "synthetic": bool(fields["synthetic"]),
            "starred": bool(fields["starred"]),
            "tags": _decode_tags(fields["tags"]),
            "class_counts": None if fields["class_counts"] is None else _decode_counts(fields["class_counts"]),
            "estimate": None if fields["estimate"] is None else _decode_estimate(fields["estimate"]),
        }
    )
