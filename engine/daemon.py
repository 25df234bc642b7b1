"""The engine: one process per home, `python -P -m engine.daemon HOME [READY_FD [serve]]`.

It holds engine.lock until it exits, is the only writer of the database, answers requests on a unix socket, and checks
its workers four times a second while there are any. With nothing to train it sleeps until a request arrives. With
`serve` it starts no workers until a request asks for training, and the mark `engine.stopped` stays until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from engine.base.errors import DepthscopeError, UsageError
from engine.base.locks import hold
from engine.base.logs import CappedLog
from engine.base.paths import Home, open_private
from engine.base.system import max_clients, peer_uid, raise_descriptor_limit
from engine.base.version import PROTOCOL, VERSION
from engine.control.engine_lock import Holder, read_holder, write_holder
from engine.control.failure import forget_failure, refuse
from engine.control.launch import EXIT_LOCKED, SERVE
from engine.control.protocol import (
    MAX_LINE_BYTES,
    AnyReply,
    AnyRequest,
    AsksForTraining,
    Greeting,
    Refused,
    Shutdown,
    Submit,
    decode_envelope,
    decode_reply,
    decode_request,
    encode,
)
from engine.control.socket_place import BACKLOG, listen, place_to_listen
from engine.control.stopped import Cause, end_of, leave_mark, read_stopped, write_mark
from engine.index.database import DatabaseUnusable, IndexNotWritten, put_aside
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.disk import trouble_of
from engine.runs.launcher import LocalLauncher
from engine.scheduler.handlers import handle
from engine.scheduler.hooks import Announcer
from engine.scheduler.prune import complete_deletion
from engine.scheduler.submission import Submission, complete_at_start, complete_pending
from engine.scheduler.supervisor import SECONDS_FOR_FILES, Supervisor
from engine.spec.config_file import sentence
from engine.spec.devices import find_devices
from engine.spec.settings import Settings, settings_and_problems

log = logging.getLogger(__name__)

LOCK_PATIENCE_SECONDS = 10.0
SECONDS_BETWEEN_TICKS = 0.25
SIGNALS_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Batch systems announce the end of a job with any of these."""
ACCEPTED_AT_ONCE = 8
"""Most clients that asyncio accepts before it does anything else, such as closing other connections."""
LEAST_SECONDS_BETWEEN_REBUILDS = 10.0
"""An index damaged again sooner means a broken disk, which repeated rebuilds would fill."""


class Engine:
    """Socket server and timer around a supervisor.

    Args:
        home: Home locked by this process.
        supervisor: Supervisor that has already recovered.
        announcer: Runs the on-finish hook.
    """

    def __init__(self, home: Home, supervisor: Supervisor, announcer: Announcer) -> None:
        self._home = home
        self._supervisor = supervisor
        self._announcer = announcer
        self._started_at = time.monotonic()
        self._woken = asyncio.Event()
        self._ticked = asyncio.Event()
        """Set and cleared again after every tick."""
        self._ended = asyncio.Event()
        self._submitting = asyncio.Lock()
        self._clients: dict[asyncio.StreamWriter, None] = {}
        """In order of their last request."""
        self._max_clients = max_clients()
        self._rebuilt_at = -math.inf
        self.has_served = False
        """Whether it has answered requests, so that whoever started it does not wait any more."""

    async def serve(self, ready: int | None) -> None:
        """Answer requests and watch workers until asked to stop.

        Args:
            ready: Descriptor to close once requests are answered.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._woken.set)
        for number in SIGNALS_TO_END:
            loop.add_signal_handler(number, self._end_by, number)
        place = place_to_listen(self._home)
        listening = listen(place)
        server = await asyncio.start_unix_server(
            self._serve_client, sock=listening, limit=MAX_LINE_BYTES, backlog=ACCEPTED_AT_ONCE
        )
        listening.listen(BACKLOG)
        self.has_served = True
        forget_failure(self._home)
        if ready is not None:
            os.close(ready)
        log.info("serving %s, version %s, pid %d", self._home.root, VERSION, os.getpid())
        watching = asyncio.create_task(self._watch())
        ending = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({watching, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.close()
            place.unlink(missing_ok=True)
            for task in (watching, ending):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                # An error that ended the watch ends the engine, too, and appears in its log.
                await watching
            await self._announcer.end()
        log.info("stopped")

    def _end_by(self, number: signal.Signals) -> None:
        """End after a signal: workers continue unless they received it, too, and the next engine adopts them."""
        leave_signal_mark(self._home, number)
        self._ended.set()

    async def _watch(self) -> None:
        """Tick regularly while runs are active, immediately when woken, and otherwise not at all."""
        while True:
            self._woken.clear()
            self._restore_index()
            try:
                self._supervisor.tick()
                self._announcer.look()
            except DatabaseUnusable as error:
                self._rebuild(error)
            self._ticked.set()
            self._ticked.clear()
            patience = SECONDS_BETWEEN_TICKS if self._supervisor.needs_ticks() else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), patience)

    def _restore_index(self) -> None:
        """Rebuild the index if it was deleted or replaced."""
        if self._supervisor.store.has_moved():
            log.warning("the database was deleted or replaced; rebuilding it from the run directories")
            self._supervisor.rebuild()

    def _rebuild(self, damage: DatabaseUnusable) -> None:
        """Rebuild a damaged index.

        Raises:
            DatabaseUnusable: it was rebuilt a moment ago.
        """
        if time.monotonic() - self._rebuilt_at < LEAST_SECONDS_BETWEEN_REBUILDS:
            raise damage
        kept = self._supervisor.rebuild()
        self._rebuilt_at = time.monotonic()
        log.warning("%s; kept as %s and rebuilt from the run directories", damage, kept)

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client's requests, line by line, until it disconnects."""
        try:
            if peer_uid(writer.get_extra_info("socket")) != os.geteuid():
                return
            self._make_room(writer)
            while line := await reader.readuntil(b"\n"):
                # Move it to the end, so that the first client is the one idle for longest.
                self._clients.pop(writer, None)
                self._clients[writer] = None
                reply = await self._answer(line)
                writer.write(reply + b"\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        except asyncio.LimitOverrunError:
            writer.write(encode(Refused(id="", text=f"request longer than {MAX_LINE_BYTES} bytes")) + b"\n")
        finally:
            self._clients.pop(writer, None)
            writer.close()

    def _make_room(self, writer: asyncio.StreamWriter) -> None:
        """Add a client; if there are too many, disconnect the one that has been idle for longest.

        Clients hold descriptors as long as they like, and the engine cannot work without free descriptors.
        """
        self._clients[writer] = None
        if len(self._clients) > self._max_clients:
            idle = next(iter(self._clients))
            del self._clients[idle]
            idle.transport.abort()

    async def _answer(self, line: bytes) -> bytes:
        """Encoded reply to one request; a repeated request gets its first reply again."""
        try:
            envelope = decode_envelope(line)
        except msgspec.DecodeError as error:
            return encode(Refused(id="", text=f"not a request: {error}"))
        self._restore_index()
        try:
            answered = self._supervisor.store.answered(envelope.id)
        except DatabaseUnusable as error:
            self._rebuild(error)
            answered = None
        try:
            request = decode_request(line)
            if answered is not None:
                self._begin_if_asked(request)
                return answered
        except msgspec.DecodeError as error:
            if answered is not None:
                return answered
            if envelope.protocol != PROTOCOL:
                # A client of another version: the greeting suffices for its error message.
                return encode(Greeting(id=envelope.id, pid=os.getpid()))
            return encode(Refused(id=envelope.id, text=f"not a request: {error}"))
        try:
            reply = await self._submit(request) if isinstance(request, Submit) else self._handle(request)
        except UsageError as error:
            return encode(Refused(id=envelope.id, text=str(error)))
        except (DepthscopeError, OSError) as error:
            return encode(Refused(id=envelope.id, text=trouble_of(error) or str(error), usage=False))
        except Exception as error:
            log.exception("a request failed")
            text = f"the request failed ({type(error).__name__}: {error}): `depthscope engine logs` says where"
            return encode(Refused(id=envelope.id, text=text, usage=False))
        self._begin_if_asked(request)
        while self._supervisor.write_labels(at_most_seconds=SECONDS_FOR_FILES):
            await asyncio.sleep(0)
        if isinstance(request, Shutdown):
            await self._shut_down(request)
        else:
            self._woken.set()
        return encode(reply)

    def _begin_if_asked(self, request: AnyRequest) -> None:
        """Start workers from now on if a request that was carried out asks for training."""
        if isinstance(request, AsksForTraining):
            self._supervisor.dispatcher.begin_training()

    def _handle(self, request: AnyRequest) -> AnyReply:
        try:
            return handle(request, self._supervisor, started_at=self._started_at)
        except DatabaseUnusable as error:
            # The change was rolled back; try again with the rebuilt index.
            self._rebuild(error)
            return handle(request, self._supervisor, started_at=self._started_at)

    async def _submit(self, request: Submit) -> AnyReply:
        """Queue runs, answering other clients between directories: syncing many files takes time."""
        async with self._submitting:
            complete_pending(self._supervisor)
            if (answered := self._supervisor.store.answered(request.id)) is not None:
                # The request was repeated while the first one was in progress.
                reply: AnyReply = decode_reply(answered)
                return reply
            submission = Submission.begin(request, self._supervisor)
            turn_ends = time.monotonic() + SECONDS_FOR_FILES
            try:
                for _ in submission.make_directories(self._supervisor):
                    if time.monotonic() >= turn_ends:
                        await asyncio.sleep(0)
                        turn_ends = time.monotonic() + SECONDS_FOR_FILES
                return submission.enter(self._supervisor)
            except (OSError, IndexNotWritten):
                submission.undo(self._supervisor)
                raise

    async def _shut_down(self, request: Shutdown) -> None:
        """Stop the engine, after the workers unless they continue training."""
        if not request.keep_training:
            self._woken.set()
            while self._supervisor.num_running:
                await self._ticked.wait()
        asyncio.get_running_loop().call_later(0.05, self._ended.set)


def leave_signal_mark(home: Home, number: int) -> None:
    """Leave the mark that a signal ended training."""
    try:
        leave_mark(home, Cause.SIGNAL, signal=signal.Signals(number).name)
    except OSError as error:
        log.error("%s could not be written: %s", home.engine_stopped, error)


def report_progress(ready: int | None) -> None:
    """Tell the process that started this engine that recovery is making progress."""
    if ready is not None:
        # That process may have exited or stopped reading: no reason to exit or wait.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(ready, b".")


def open_store(home: Home) -> Store:
    """Open the index; an unusable one is set aside and rebuilt from the run directories."""
    try:
        return Store(home.database, rebuilds=True)
    except DatabaseUnusable as error:
        kept = put_aside(home.database)
        log.warning("%s; kept as %s and rebuilt from the run directories", error, kept.name)
        return Store(home.database, rebuilds=True)


def settings_or_defaults(home: Home) -> Settings:
    """Read config.toml; log what is wrong and use its default, since runs must be supervised anyway."""
    settings, problems = settings_and_problems(home)
    for problem in problems:
        log.error("%s; using the default: fix it and run `depthscope engine restart`", sentence(home, problem))
    return settings


def end_early(home: Home, number: int) -> None:
    """End after a signal before requests are answered; the index loses nothing."""
    leave_signal_mark(home, number)
    os._exit(128 + number)


def serve_only(supervisor: Supervisor, last: Holder) -> None:
    """Start no runs; say why, unless the mark does so already.

    Args:
        last: The engine before this one.
    """
    supervisor.dispatcher.starts_runs = False
    if read_stopped(supervisor.home) is None:
        heard = [run.last_event_at for run in supervisor.reader.unfinished_runs() if run.last_event_at is not None]
        try:
            write_mark(supervisor.home, end_of(last, max(heard, default=None)))
        except OSError as error:
            log.error("%s could not be written: %s", supervisor.home.engine_stopped, error)


def main() -> int:
    """Entry point."""
    os.umask(0o077)
    raise_descriptor_limit()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    home = Home(Path(sys.argv[1]))
    ready = int(sys.argv[2]) if len(sys.argv) > 2 else None
    starts_runs = SERVE not in sys.argv[3:]
    if ready is not None:
        os.set_inheritable(ready, False)
        os.set_blocking(ready, False)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=[CappedLog(home.engine_log)]
    )
    try:
        home.create()
        # Nothing answered the process that starts us, so an engine that still holds the lock is about to exit.
        lock = open_private(home.engine_lock, os.O_RDWR | os.O_CREAT)
        last = read_holder(home)
        if not hold(lock, patience_seconds=1.0 if ready is None else LOCK_PATIENCE_SECONDS):
            return EXIT_LOCKED
        for number in SIGNALS_TO_END:
            signal.signal(number, lambda number, _frame: end_early(home, number))
        place = place_to_listen(home)
        write_holder(lock, Holder.here(None if place == home.engine_socket else str(place)))
        store = open_store(home)
        complete_deletion(home, store)
        reader = Reader(home.database, while_rebuilding=True)
        settings = settings_or_defaults(home)
        supervisor = Supervisor(home, store, reader, LocalLauncher(home.root), find_devices(), settings)
        if starts_runs:
            supervisor.dispatcher.begin_training()
        else:
            serve_only(supervisor, last)
        complete_at_start(supervisor)
        supervisor.recover(lambda: report_progress(ready))
    except Exception as error:
        return refuse(home, error, ready)
    engine = Engine(home, supervisor, Announcer(settings.hook, store, reader))
    try:
        asyncio.run(engine.serve(ready))
    except Exception as error:
        return refuse(home, error, None if engine.has_served else ready)
    finally:
        reader.close()
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
