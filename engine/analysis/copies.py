"""Runs that are the same as another, such as an imported copy, and count once."""

from __future__ import annotations

from collections.abc import Sequence

from engine.runs.run import Run


def count_once(runs: Sequence[Run]) -> tuple[tuple[Run, ...], tuple[tuple[Run, Run], ...]]:
    """Separate the runs that count from those that are the same as one of them.

    Runs are the same if they have the same origin, or if specification, seed, images and version of depthscope are
    equal, so that one only repeats the other. A finished run counts rather than an unfinished one, then the older.

    Returns:
        Runs that count, in the given order; and the others, each behind the one that counts for it.
    """
    counting: dict[object, Run] = {}
    copies: list[tuple[Run, Run]] = []
    for run in sorted(runs, key=lambda run: (not run.succeeded, not run.is_finished, run.position, run.created_at)):
        keys: list[object] = [run.origin]
        if run.data_sha256 is not None:
            keys.append((run.spec, run.data_sha256, run.version))
        same = next((counting[key] for key in keys if key in counting), None)
        if same is not None:
            copies.append((same, run))
        for key in keys:
            counting.setdefault(key, same or run)
    left_out = {copy.id for _, copy in copies}
    return tuple(run for run in runs if run.id not in left_out), tuple(copies)
