"""Conflicting requests from two consoles: the first commit wins, and then invalid ones are refused."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw
import msgspec
import pytest

from console.tui.feed import Feed
from engine.base.paths import Home
from engine.control.connection import Connection
from engine.control.launch import ensure_engine
from engine.control.protocol import (
    Done,
    Move,
    NewRun,
    Pause,
    Refused,
    Release,
    Resume,
    Retry,
    RunRequest,
    SetQueue,
    Stop,
    Submit,
)
from engine.control.queue_state import QueueState
from tests.engine.scripted import spec_of

CONVERGES_WITHIN_SECONDS = 1.0
SECONDS_BETWEEN_LOOKS = 0.5
"""As in the console."""
FULL_NUM_REQUESTS = 10_000
KINDS: tuple[type[Stop | Pause | Resume | Retry | Move], ...] = (Stop, Pause, Resume, Retry, Move)


def allowed(request: object, states: Sequence[str]) -> bool:
    """Return whether a request is allowed in these states; reimplemented here from the commands' help."""
    match request:
        case Stop() | Pause():
            return all(state != "cancelled" for state in states)
        case Resume():
            return True
        case Retry():
            return all(state == "cancelled" for state in states)
        case _:
            return all(state == "queued" for state in states)


def after(request: object, state: str) -> str:
    match request:
        case Stop():
            return "cancelled"
        case Pause():
            return "paused"
        case Resume() | Retry():
            return "queued"
        case _:
            return state


@dataclass
class Client:
    """One console's requests in order, each with its reply."""

    seed: int
    asked: list[tuple[Any, Any]] = field(default_factory=list)
    slowest_seconds: float = 0.0

    def race(self, home: Home, runs: Sequence[str], num: int, begin: threading.Barrier) -> None:
        draws = random.Random(self.seed)
        with Connection(home.engine_socket, patience_seconds=30) as connection:
            begin.wait()
            for _ in range(num):
                kind = draws.choice(KINDS)
                request = kind(runs=tuple(draws.sample(runs, draws.choice((1, 1, 2)))))
                began = time.monotonic()
                self.asked.append((request, connection.ask(request)))
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)


def committed(home: Home) -> list[str]:
    """Return the ids of all requests that changed something, in commit order."""
    connection = apsw.Connection(str(home.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [id for (id,) in connection.execute("SELECT id FROM requests ORDER BY number")]
    finally:
        connection.close()


def check_history(order: Sequence[str], clients: Iterable[Client], runs: Sequence[str]) -> dict[str, str]:
    """Check that all replies agree with executing the requests one after another in commit order.

    Args:
        order: Ids of the executed requests, in order.
        clients: All requests and their replies.
        runs: Ids of the runs, all queued at first.

    Returns:
        Final status of each run.
    """
    requests = {request.id: request for client in clients for request, _ in client.asked}
    state = dict.fromkeys(runs, "queued")
    states = [dict(state)]
    place: dict[str, int] = {}
    for id in order:
        request = requests.get(id)
        if request is None:
            continue
        assert allowed(request, [state[run] for run in request.runs]), f"{request} was done when runs stood {state}"
        for run in request.runs:
            state[run] = after(request, state[run])
        states.append(dict(state))
        place[id] = len(states) - 1
    for client in clients:
        first, waiting = 0, []
        for request, reply in client.asked:
            if isinstance(reply, Done):
                assert request.id in place, f"{request} was acknowledged and is not in the index"
                assert place[request.id] > first, f"{request} was done before what this console had asked earlier"
                check_refused(waiting, states[first : place[request.id]])
                first, waiting = place[request.id], []
            else:
                assert isinstance(reply, Refused)
                assert request.id not in place, f"{request} was refused and done"
                waiting.append(request)
        check_refused(waiting, states[first:])
    return state


def check_refused(requests: Iterable[RunRequest], states: Sequence[dict[str, str]]) -> None:
    """Check that each refusal was right at one of the times the request may have arrived."""
    for request in requests:
        assert any(not allowed(request, [state[run] for run in request.runs]) for state in states), (
            f"{request} was refused and allowed all the time"
        )


def look_until(feed: Feed, ends: threading.Event, seen: dict[str, float], name: str, final: dict[str, str]) -> None:
    """Poll a console's feed until it shows the final state."""
    while True:
        feed.look()
        if ends.is_set() and {run.id: str(run.outcome or run.status) for run in feed.runs.values()} == final:
            seen[name] = time.monotonic()
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def race(home: Any, num_requests: int, figure: Callable[[str], None]) -> None:
    ensure_engine(home.home)
    with Connection(home.home.engine_socket) as connection:
        connection.ask(SetQueue(state=QueueState.HELD))
        new = tuple(NewRun(name=f"run{number}", spec=spec_of(number, "cpu")) for number in range(6))
        reply = connection.ask(Submit(runs=new))
    assert isinstance(reply, Done)
    runs = list(reply.runs)
    clients, begin = [Client(1), Client(2)], threading.Barrier(2)
    racing = [
        threading.Thread(target=client.race, args=(home.home, runs, num_requests // 2, begin)) for client in clients
    ]
    final: dict[str, str] = {}
    seen: dict[str, float] = {}
    ends = threading.Event()
    feeds = [Feed(home.home), Feed(home.home)]
    looking = [
        threading.Thread(target=look_until, args=(feed, ends, seen, str(number), final), daemon=True)
        for number, feed in enumerate(feeds)
    ]
    began = time.monotonic()
    for thread in (*racing, *looking):
        thread.start()
    for thread in racing:
        thread.join()
    ended = time.monotonic()
    final.update(check_history(committed(home.home), clients, runs))
    checked = time.monotonic()
    ends.set()
    for thread in looking:
        thread.join(timeout=20)
    assert len(seen) == 2, f"a console does not come to show {final}"

    with home.reader() as reader:
        rows = reader.runs()
    assert {run.id: str(run.outcome or run.status) for run in rows} == final
    for run in rows:
        labels = home.directory(run.id).read_labels()
        assert (labels.intent, labels.queue_place) == (run.intent, run.place), "labels.json is behind the index"
    refused = sum(isinstance(reply, Refused) for client in clients for _, reply in client.asked)
    slowest = max(client.slowest_seconds for client in clients)
    converged = max(seen.values()) - max(ended, checked)
    figure(
        f"{num_requests} requests of two consoles, {refused} refused, 0 wrong, in {ended - began:.1f} s;"
        f" slowest answer {slowest * 1000:.0f} ms; both show the end within {converged:.2f} s"
    )
    assert 0 < refused < num_requests
    assert converged < CONVERGES_WITHIN_SECONDS


def test_two_consoles_that_race_agree_with_one_order_of_all_requests(bare_home: Any, figure: Callable[[str], None]):
    """Stop, pause, resume, retry and reorder, for one or two runs at a time."""
    race(bare_home, 400, figure)


@pytest.mark.soak
def test_ten_thousand_racing_requests(bare_home: Any, figure: Callable[[str], None]):
    """Longer version."""
    race(bare_home, FULL_NUM_REQUESTS, figure)


def test_the_control_a_history_with_a_mistake_is_seen():
    """Control: a forbidden request executed, an allowed one refused, an acknowledged one lost."""
    stop, again, resume = Stop(runs=("a",)), Stop(runs=("a",)), Resume(runs=("a",))
    done = {request.id: Done(id=request.id) for request in (stop, again, resume)}
    no = {request.id: Refused(id=request.id, text="") for request in (stop, again, resume)}

    good = [Client(0, [(stop, done[stop.id])]), Client(0, [(again, no[again.id]), (resume, done[resume.id])])]
    assert check_history([stop.id, resume.id], good, ["a"]) == {"a": "queued"}
    both = [Client(0, [(stop, done[stop.id])]), Client(0, [(again, done[again.id])])]
    with pytest.raises(AssertionError, match="was done when"):
        check_history([stop.id, again.id], both, ["a"])
    with pytest.raises(AssertionError, match="allowed all the time"):
        check_history([], [Client(0, [(stop, no[stop.id])])], ["a"])
    with pytest.raises(AssertionError, match="not in the index"):
        check_history([], [Client(0, [(stop, done[stop.id])])], ["a"])


def test_the_last_place_in_the_queue_is_that_of_the_last_move(bare_home: Any):
    """Two consoles move the same run to opposite ends: the later commit determines its place."""
    ensure_engine(bare_home.home)
    with Connection(bare_home.home.engine_socket) as one, Connection(bare_home.home.engine_socket) as other:
        one.ask(SetQueue(state=QueueState.HELD))
        new = tuple(NewRun(name=f"run{number}", spec=spec_of(number, "cpu")) for number in range(3))
        reply = one.ask(Submit(runs=new))
        assert isinstance(reply, Done)
        moved = reply.runs[1]
        one.ask(Move(runs=(moved,), last=True))
        other.ask(Move(runs=(moved,)))
        with bare_home.reader() as reader:
            assert reader.unfinished_runs()[0].id == moved
        other.ask(Release(runs=(moved,)))
        repeated = Move(runs=(moved,), last=True)
        # The repeated request is answered from the index and moves nothing.
        assert msgspec.to_builtins(one.ask(repeated)) == msgspec.to_builtins(other.ask(repeated))
