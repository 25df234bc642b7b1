"""What a console may ask of the engine: one JSON object a line, each answered by one line.

A request carries an id that the client makes. An engine that has answered an id answers it again with the same words
and does nothing, so that a client which lost the reply can send the request once more.
"""

from __future__ import annotations

import secrets

import msgspec

from engine.base.version import PROTOCOL, VERSION
from engine.control.queue_state import QueueState
from engine.spec.estimate import Estimate
from engine.spec.run import RunSpec

MAX_LINE_BYTES = 8 << 20
"""Longer requests are refused; a thousand runs fit in a tenth of it."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="request"):
    """Every request: its id, and the protocol that its sender speaks."""

    id: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))
    protocol: int = PROTOCOL


class Hello(Request, frozen=True, tag="hello"):
    """Who are you? Answered in every version."""


class NewRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run to be queued."""

    name: str
    spec: RunSpec
    estimate: Estimate | None = None
    """What it is expected to take, to be held against the truth; None where there is nothing to go by."""


class Submit(Request, frozen=True, tag="submit"):
    """Queue runs as an experiment."""

    runs: tuple[NewRun, ...]
    experiment: str | None = None
    """None takes the next exp1, exp2, …; one that exists gets the runs added."""


class Stop(Request, frozen=True, tag="stop"):
    """End runs for good, at the next step and with a checkpoint: outcome cancelled."""

    runs: tuple[str, ...]


class Pause(Request, frozen=True, tag="pause"):
    """Let runs rest, at the next step and with a checkpoint, until they are resumed."""

    runs: tuple[str, ...]


class Resume(Request, frozen=True, tag="resume"):
    """Queue paused or cancelled runs again, to go on from their checkpoints."""

    runs: tuple[str, ...]


class Retry(Request, frozen=True, tag="retry"):
    """Queue failed, diverged, lost or cancelled runs again, to go on from their checkpoints."""

    runs: tuple[str, ...]


class Remove(Request, frozen=True, tag="remove"):
    """Hide finished or waiting runs; nothing of them is deleted from disk."""

    runs: tuple[str, ...]


class Restore(Request, frozen=True, tag="restore"):
    """Show removed runs again."""

    runs: tuple[str, ...]


class Hold(Request, frozen=True, tag="hold"):
    """Do not start queued runs until they are released; they keep their places."""

    runs: tuple[str, ...]


class Release(Request, frozen=True, tag="release"):
    """Let held runs be started again."""

    runs: tuple[str, ...]


class Move(Request, frozen=True, tag="move"):
    """Give queued runs other places, in the order in which they are named."""

    runs: tuple[str, ...]
    before: str | None = None
    """The queued run that they go before; None moves them to an end."""
    last: bool = False
    """Whether that end is the last place rather than the first."""


class Relabel(Request, frozen=True, tag="relabel"):
    """Change what is said about runs, and nothing of how they are trained; what is None stays as it is."""

    runs: tuple[str, ...]
    name: str | None = None
    """Of one run alone."""
    note: str | None = None
    """Empty takes it away."""
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    starred: bool | None = None


class RenameExperiment(Request, frozen=True, tag="rename-experiment"):
    """Give an experiment another name."""

    experiment: str
    name: str


class Import(Request, frozen=True, tag="import"):
    """Take runs of another machine in, which lie under incoming/ by their ids; those that were on their way rest."""

    token: str
    """The directory under incoming/."""
    runs: tuple[str, ...]
    experiment: str | None = None
    """What they belong to here; None is what they belonged to there, if nothing here is called so."""


class SetQueue(Request, frozen=True, tag="queue"):
    """Hold the whole queue, let it drain, or open it again."""

    state: QueueState


class Rebuild(Request, frozen=True, tag="rebuild"):
    """Put the database aside and build it anew from the run directories."""

    only_if_damaged: bool = False
    """Whether that is done only where a reading of all of it finds it damaged."""


class Shutdown(Request, frozen=True, tag="shutdown", omit_defaults=True):
    """End the engine. Understood in every version, so that what only some know is said only where it is wanted."""

    keep_training: bool = False
    """True leaves the workers alone; False lets them save a checkpoint and puts their runs back into the queue."""
    opens_queue: bool = False
    """Whether a queue that drains is left open, for the next engine to start what waits in it."""


RunRequest = Stop | Pause | Resume | Retry | Remove | Restore | Hold | Release
"""What is asked of runs alone."""
ChangeRequest = Submit | RunRequest | Move | SetQueue | Relabel | RenameExperiment | Import | Rebuild
"""What is answered by Done."""
AnyRequest = Hello | ChangeRequest | Shutdown


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag_field="reply"):
    """Every reply: the id of its request."""

    id: str


class Greeting(Reply, frozen=True, tag="greeting"):
    """Who the engine is."""

    pid: int
    version: str = VERSION
    protocol: int = PROTOCOL
    home: str = ""
    uptime_seconds: float = 0.0
    num_running: int = 0
    num_queued: int = 0
    devices: tuple[str, ...] = ()
    slots: tuple[int, ...] = ()
    """Most workers at a time on each of the devices."""
    queue: QueueState = QueueState.OPEN
    trouble: str | None = None
    """What keeps runs from going on that are to; None where nothing does."""


class Done(Reply, frozen=True, tag="done"):
    """What was asked stands in the database."""

    runs: tuple[str, ...] = ()
    """Ids of the runs that it concerned."""
    experiment: str | None = None


class Refused(Reply, frozen=True, tag="refused"):
    """Nothing was done, and why."""

    text: str
    usage: bool = True
    """Whether the request itself was wrong, rather than the engine unable."""


AnyReply = Greeting | Done | Refused

decode_request = msgspec.json.Decoder(AnyRequest).decode
decode_reply = msgspec.json.Decoder(AnyReply).decode
encode = msgspec.json.Encoder().encode


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What can be read of any request, known or not, so that it can be answered by its id."""

    id: str = ""
    protocol: int = 0


decode_envelope = msgspec.json.Decoder(Envelope).decode
