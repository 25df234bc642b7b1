"""State of the whole queue, kept in queue.json, and positions for moved runs.

A run's own position and hold are in its labels.json. Positions are real numbers, so that a run can move between two
others without changing theirs.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from engine.base.decoding import decode_json
from engine.base.paths import Home, write_atomically
from engine.base.regular_files import OddFile, read_regular

log = logging.getLogger(__name__)


class QueueState(StrEnum):
    """Whether the queue starts runs."""

    OPEN = "open"
    HELD = "held"
    """Nothing starts, not even a crashed run."""
    DRAINING = "draining"
    """Runs that were running when draining began will finish, through crashes and restarts; nothing new starts."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """Content of queue.json; only the engine writes it."""

    state: QueueState = QueueState.OPEN
    to_finish: tuple[str, ...] = ()
    """Runs that a draining queue still finishes."""

    def starts(self, run: str) -> bool:
        """Return whether the queue as a whole allows a run to start."""
        match self.state:
            case QueueState.OPEN:
                return True
            case QueueState.HELD:
                return False
            case QueueState.DRAINING:
                return run in self.to_finish


def read_queue(home: Home) -> Queue:
    """Read the queue's state; open if queue.json does not exist."""
    try:
        return decode_json(read_regular(home.queue), Queue)
    except FileNotFoundError:
        return Queue()
    except (OddFile, msgspec.DecodeError) as error:
        # Held is the safe choice: the user may have held it, and otherwise sees the warning and releases it.
        log.warning("%s is damaged (%s): the queue is held until `depthscope queue release`", home.queue, error)
        return Queue(state=QueueState.HELD)


def write_queue(home: Home, queue: Queue) -> None:
    """Save the queue's state for the next engine."""
    write_atomically(home.queue, msgspec.json.encode(queue))


def new_places(places: Sequence[float], index: int, num_moved: int, *, last: float) -> list[float] | None:
    """Compute positions for moved runs.

    Args:
        places: Positions of all other queued runs, ascending.
        index: Index of the run to move in front of; len(places) for the end.
        num_moved: Number of runs to move.
        last: A position after every run so far, so that later submissions come later.

    Returns:
        A position for each moved run; None if two neighbours are too close to fit any between, so that all must be
        renumbered.
    """
    if index == len(places):
        return [last + number for number in range(num_moved)]
    above = places[index]
    if index == 0:
        return [math.floor(above) - num_moved + number for number in range(num_moved)]
    below = places[index - 1]
    found = [below + (above - below) * (number + 1) / (num_moved + 1) for number in range(num_moved)]
    ordered = [below, *found, above]
    return found if all(one < other for one, other in itertools.pairwise(ordered)) else None
