"""The queue as a whole: whether it starts anything, kept in a small file of the home; and where a moved run goes.

Where each run stands, and whether it is held, is in its labels.json. Order is by a real number, so that a run moves
between two others without a change of theirs.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from engine.base.paths import Home, write_atomically

log = logging.getLogger(__name__)


class QueueState(StrEnum):
    """Whether runs are started."""

    OPEN = "open"
    HELD = "held"
    """Nothing is started, a crashed run neither."""
    DRAINING = "draining"
    """What was under way when it was asked for is finished, through crashes and restarts; nothing else is started."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The content of queue.json; written by the engine alone."""

    state: QueueState = QueueState.OPEN
    to_finish: tuple[str, ...] = ()
    """Of a queue that drains: the runs that are carried to their ends all the same."""

    def starts(self, run: str) -> bool:
        """Whether a run, as far as the whole queue goes, may be started."""
        match self.state:
            case QueueState.OPEN:
                return True
            case QueueState.HELD:
                return False
            case QueueState.DRAINING:
                return run in self.to_finish


def read_queue(home: Home) -> Queue:
    """How the queue was left; open where nobody has ever held it."""
    try:
        return msgspec.json.decode(home.queue.read_bytes(), type=Queue)
    except FileNotFoundError:
        return Queue()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Whoever held it had a reason; whoever did not is told, and releases it.
        log.warning("%s is damaged (%s): the queue is held until `depthscope queue release`", home.queue, error)
        return Queue(state=QueueState.HELD)


def write_queue(home: Home, queue: Queue) -> None:
    """Keep how the queue is, for the next engine too."""
    write_atomically(home.queue, msgspec.json.encode(queue))


def new_places(places: Sequence[float], index: int, num_moved: int, *, last: float) -> list[float] | None:
    """Where moved runs go, as numbers in order.

    Args:
        places: Of all other runs of the queue, in order.
        index: Of the one that the moved runs go before; len(places) puts them at the end.
        num_moved: How many move.
        last: A place behind every run there ever was, so that what is queued later comes later.

    Returns:
        A place for each; None where two neighbours are too near for a number between them, so that all are numbered
        anew.
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
