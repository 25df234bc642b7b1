"""Make a worker kill itself with SIGKILL at a planned point, including points a random kill rarely hits.

A run's plan is in HOME/kills/<id>, one line per worker with fields separated by |: the point, the epochs to complete
first, how often the point is then reached, and the misfortune unless it is a kill. Every worker that reached its point
adds a line to HOME/kills/<id>.fell.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTING, IMPORTED, LOADING, RESTORED = "starting", "imported", "loading", "restored"
STEP, GRADIENT, UPDATED, EVALUATION = "step", "gradient", "updated", "evaluation"
TORN_LINE, HALF_CHECKPOINT, UNSYNCED_CHECKPOINT = "torn line", "half checkpoint", "unsynced checkpoint"
UNTOLD_CHECKPOINT, FILE = "untold checkpoint", "file"
ONCE = (STARTING, IMPORTED, LOADING, RESTORED)
"""Points a worker passes once, before its first step."""
OFTEN = (
    *(STEP, GRADIENT, UPDATED, EVALUATION, TORN_LINE),
    *(HALF_CHECKPOINT, UNSYNCED_CHECKPOINT, UNTOLD_CHECKPOINT, FILE),
)
FILE_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.truncate"}


class Plan:
    """Where a worker dies."""

    point: str | None = None
    epochs = 0
    """Epochs to complete before counting."""
    count = 0
    """Remaining times it reaches the point."""
    what: Callable[..., None] | None = None
    """Misfortune to apply; None kills."""
    fell: Path

    def is_due(self, point: str) -> bool:
        """Count a visit of a point; return whether it is the planned one."""
        if point != self.point or self.epochs > 0:
            return False
        self.count -= 1
        return self.count <= 0

    def reach(self, point: str, *things: Any) -> None:
        """Die here if planned; a misfortune receives the caller's objects."""
        if self.is_due(point):
            self.die(*things)

    def die(self, *things: Any) -> None:
        """Record the point, then die as by kill -9."""
        point, self.point = self.point, None
        descriptor = os.open(self.fell, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{point}\n".encode())
        os.close(descriptor)
        if self.what is not None:
            self.what(*things)
            return
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


plan = Plan()


class Instead:
    """A module with some functions replaced, for one module that uses it."""

    def __init__(self, module: Any, **replaced: Any) -> None:
        self._module = module
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def around(
    owner: Any, name: str, before: Callable[..., None] = lambda *_: None, after: Callable[..., None] = lambda *_: None
) -> None:
    """Wrap a function of a module or class with calls before and after it, which get its positional arguments."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **named: Any) -> Any:
        before(*args)
        result = original(*args, **named)
        after(*args)
        return result

    setattr(owner, name, wrapped)


def arm(directory: Path) -> None:
    """Take the next line of a run's plan; do nothing without one."""
    planned = directory.parent.parent / "kills" / directory.name
    if not planned.exists() or not (lines := planned.read_text().splitlines()):
        return
    rest = planned.with_suffix(".rest")
    rest.write_text("".join(f"{line}\n" for line in lines[1:]))
    rest.rename(planned)
    point, epochs, count, *what = lines[0].split("|")
    plan.fell = planned.with_name(f"{planned.name}.fell")
    plan.point, plan.epochs, plan.count = point, int(epochs), int(count)
    if what:
        import misfortunes

        plan.what = misfortunes.ALL[what[0]]
    plan.reach(STARTING)
    install()
    plan.reach(IMPORTED)


def install() -> None:
    """Insert all points into the worker's modules before they import from each other."""
    import engine.data.datasets
    import engine.runs.journal
    import engine.training.checkpoint
    import engine.training.step

    around(engine.data.datasets, "load", before=lambda *_: plan.reach(LOADING))
    around(
        engine.training.step,
        "train_step",
        before=lambda *things: plan.reach(STEP, *things),
        after=lambda *things: plan.reach(UPDATED, *things),
    )
    around(engine.training.step.MetricSums, "add", before=reach_of_sums)
    around(engine.training.checkpoint, "save_checkpoint", after=lambda *_: plan.reach(UNTOLD_CHECKPOINT))
    engine.runs.journal.os = Instead(os, write=write_line)
    engine.training.checkpoint.os = Instead(os, fdopen=open_archive, fsync=sync_archive)

    import engine.training.session

    around(engine.training.session, "restore", after=lambda *_: plan.reach(RESTORED))

    import engine.training.loop

    around(engine.training.loop, "finish_epoch", after=complete_epoch)

    def watch_files(event: str, args: tuple[Any, ...]) -> None:
        # A worker names files relative to the descriptor of its directory; everything else it opens is absolute.
        if event in FILE_EVENTS and isinstance(args[0], str | os.PathLike) and not os.fspath(args[0]).startswith("/"):
            plan.reach(FILE)

    sys.addaudithook(watch_files)


def complete_epoch(*_: Any) -> None:
    plan.epochs -= 1


def reach_of_sums(*_: Any) -> None:
    """Insert a point where sums change: between gradient and update of a step, and in every batch of an evaluation."""
    plan.reach(EVALUATION if sys._getframe(2).f_code.co_name == "evaluate" else GRADIENT)


def write_line(descriptor: int, line: bytes) -> int:
    """Write a journal line; at its point, only half of it."""
    if plan.is_due(TORN_LINE):
        os.write(descriptor, line[: len(line) // 2])
        plan.die()
    return os.write(descriptor, line)


def open_archive(*args: Any) -> Any:
    """Open a checkpoint for writing; at its point, only half of it reaches the disk."""
    file = os.fdopen(*args)
    original = file.write

    class Half:
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_error: Any) -> None:
            file.close()

        def write(self, content: Any) -> None:
            if len(content) > 256 and plan.is_due(HALF_CHECKPOINT):
                original(content[: len(content) // 2])
                file.flush()
                plan.die()
            original(content)

        def __getattr__(self, name: str) -> Any:
            return getattr(file, name)

    return Half()


def sync_archive(descriptor: int) -> None:
    plan.reach(UNSYNCED_CHECKPOINT)
    os.fsync(descriptor)
