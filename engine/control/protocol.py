"""Requests to the engine and their replies: one JSON object per line, one reply line per request.

Requests are idempotent: each carries an id chosen by the client, and the engine answers a repeated id with the same
reply without doing anything, so that a client that lost a reply can send the request again.
"""

from __future__ import annotations

import secrets

import msgspec

from engine.base.decoding import Real, Whole, decoder
from engine.base.version import PROTOCOL, VERSION
from engine.control.queue_state import QueueState
from engine.spec.estimate import Estimate
from engine.spec.run import RunSpec

MAX_LINE_BYTES = 8 << 20
"""Limit on a request's length; a thousand runs take a tenth of it."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="request"):
    """Base of all requests: id and protocol version of the sender."""

    id: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))
    protocol: Whole = PROTOCOL


class Hello(Request, frozen=True, tag="hello"):
    """Ask which engine is serving; understood by every version."""


class NewRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run to queue."""

    name: str
    spec: RunSpec
    estimate: Estimate | None = None
    """Expected duration, compared later with the actual one; None if unknown."""


class Submit(Request, frozen=True, tag="submit"):
    """Queue runs as an experiment."""

    runs: tuple[NewRun, ...]
    experiment: str | None = None
    """None for the next of exp1, exp2, …; an existing experiment gets the runs added."""


class RunRequest(Request, frozen=True):
    """Base of requests whose only argument is a list of runs."""

    runs: tuple[str, ...]


class Stop(RunRequest, frozen=True, tag="stop"):
    """Cancel runs: they stop at the next step with a checkpoint."""


class Pause(RunRequest, frozen=True, tag="pause"):
    """Pause runs: they stop at the next step with a checkpoint, until resumed."""


class Resume(RunRequest, frozen=True, tag="resume"):
    """Queue paused or cancelled runs again, to continue from their checkpoints."""


class Retry(RunRequest, frozen=True, tag="retry"):
    """Queue failed, diverged, lost or cancelled runs again, to continue from their checkpoints."""


class Remove(RunRequest, frozen=True, tag="remove"):
    """Hide finished or waiting runs, which cancels the waiting ones; their files stay on disk."""


class Restore(RunRequest, frozen=True, tag="restore"):
    """Show hidden runs again: those that hiding cancelled are queued, held or paused as before."""


class Hold(RunRequest, frozen=True, tag="hold"):
    """Hold queued runs: they keep their places but do not start until released."""


class Release(RunRequest, frozen=True, tag="release"):
    """Release held runs."""


class Move(Request, frozen=True, tag="move"):
    """Move queued runs, keeping the order in which they are listed."""

    runs: tuple[str, ...]
    before: str | None = None
    """Queued run to move them in front of; None moves them to one end."""
    last: bool = False
    """With `before` None: move to the end of the queue instead of the front."""


class Relabel(Request, frozen=True, tag="relabel"):
    """Change the labels of runs; None leaves a label unchanged."""

    runs: tuple[str, ...]
    name: str | None = None
    """New name; allowed for a single run only."""
    note: str | None = None
    """New note; empty removes it."""
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    starred: bool | None = None


class RenameExperiment(Request, frozen=True, tag="rename-experiment"):
    """Rename an experiment."""

    experiment: str
    name: str


class Import(Request, frozen=True, tag="import"):
    """Import runs from another machine, staged under incoming/ by id; unfinished ones become paused."""

    token: str
    """Name of the directory under incoming/."""
    runs: tuple[str, ...]
    experiment: str | None = None
    """Experiment to add them to; None keeps their own, unless the name is taken here."""


class Prune(Request, frozen=True, tag="prune"):
    """Delete for good: hidden runs with all their files, and checkpoints of succeeded runs."""

    hidden: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()


class SetQueue(Request, frozen=True, tag="queue"):
    """Hold, drain or open the whole queue."""

    state: QueueState


class StartTraining(Request, frozen=True, tag="start-training"):
    """Start workers from now on, if this engine starts none yet."""


class Rebuild(Request, frozen=True, tag="rebuild"):
    """Set the database aside and rebuild it from the run directories."""

    only_if_damaged: bool = False
    """Rebuild only if a full check finds damage."""


class Shutdown(Request, frozen=True, tag="shutdown", omit_defaults=True):
    """Stop the engine. Defaults are omitted, so that every version understands the plain request."""

    keep_training: bool = False
    """Leave workers running; otherwise they save a checkpoint and their runs go back to the queue."""
    opens_queue: bool = False
    """Open a draining queue, so that the next engine starts the waiting runs."""


AnyRunRequest = Stop | Pause | Resume | Retry | Remove | Restore | Hold | Release
ChangeRequest = (
    StartTraining | Submit | AnyRunRequest | Move | SetQueue | Relabel | RenameExperiment | Import | Prune | Rebuild
)
"""Requests answered by Done."""
AnyRequest = Hello | ChangeRequest | Shutdown


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag_field="reply"):
    """Base of all replies: id of the request."""

    id: str


class Greeting(Reply, frozen=True, tag="greeting"):
    """Identity and state of the engine."""

    pid: Whole
    version: str = VERSION
    protocol: Whole = PROTOCOL
    home: str = ""
    uptime_seconds: Real = 0.0
    num_running: Whole = 0
    num_queued: Whole = 0
    devices: tuple[str, ...] = ()
    slots: tuple[Whole, ...] = ()
    """Maximum number of workers on each device."""
    starts_runs: bool = True
    """Whether it starts workers; otherwise it only serves."""
    queue: QueueState = QueueState.OPEN
    trouble: str | None = None
    """Problem that keeps runs from starting or continuing; None if there is none."""


class Done(Reply, frozen=True, tag="done"):
    """The request is carried out and recorded in the database."""

    runs: tuple[str, ...] = ()
    """Ids of the affected runs."""
    experiment: str | None = None


class Refused(Reply, frozen=True, tag="refused"):
    """The request was refused; nothing was done."""

    text: str
    usage: bool = True
    """True if the request was invalid, False if the engine was unable to carry it out."""


AnyReply = Greeting | Done | Refused

AsksForTraining = StartTraining | Submit | Resume | Retry
"""Requests after which an engine starts workers."""

decode_request = decoder(AnyRequest)
decode_reply = decoder(AnyReply)
encode = msgspec.json.Encoder().encode


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Fields common to all requests, so that unknown ones can be answered too."""

    id: str = ""
    protocol: Whole = 0


decode_envelope = decoder(Envelope)
