"""The console: a Textual app over the index and the engine's socket. It holds no state that training depends on."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.timer import Timer

from console.notify import has_ended_since, tell_away, tell_ends
from console.screens.base import ConsoleScreen
from console.screens.home import HomeScreen
from console.text.formatting import clean, supports_unicode
from console.tui.background import ask_for, ensure_engine, find_logout_risk, heal, in_background, replace_engine
from console.tui.config import THEMES, Config
from console.tui.feed import CurvesChanged, Feed, IndexTrouble, RunsChanged, trouble_words
from console.tui.status import SECONDS_BETWEEN_PULSES, EngineState, Pulse, take_pulse
from console.tui.terminal_guard import TerminalGuard
from console.tui.themes import OWN_THEMES, curve_colours, heat_colours
from console.tui.view_state import load_view, save_view
from engine.base.errors import DepthscopeError, EngineUnreachable
from engine.base.paths import open_private
from engine.control.queue_state import QueueState
from engine.index.database import DatabaseUnusable
from engine.runs.run import Run, RunStatus

if TYPE_CHECKING:
    from console.widgets.chart import Chart
    from engine.base.paths import Home
    from engine.control.protocol import ChangeRequest
    from engine.control.systemd import LogoutRisk
    from engine.spec.run import RunSpec

SECONDS_BETWEEN_LOOKS = 0.5
"""So that nothing is redrawn more than twice a second."""
SECONDS_BEFORE_SAVING = 0.5
"""The view is written once the user pauses for this long."""
SECONDS_BETWEEN_TRIES = 0.02
"""To leave, while a screen is composed."""
SECONDS_BETWEEN_HEALINGS = 20.0
LEAST_COLUMNS, LEAST_LINES = 60, 16


class ConsoleApp(App[None]):
    """Screens over one feed.

    Args:
        home: Whose runs.
        config: The user's settings.
        starts_engine: Whether an engine is started where none serves, as a user expects.
        guard: What ends the app with its terminal; None where there is no terminal.
    """

    CSS_PATH = "console.tcss"
    TITLE = "depthscope"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "keys", "help", key_display="?", id="app.help"),
        Binding("q", "leave", "quit", id="app.quit"),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True, id="app.interrupt", system=True),
        Binding("T", "next_theme", "theme", show=False, id="app.theme"),
        Binding("W", "away", "while you were away", show=False, id="app.away"),
        Binding(
            "E", "start_engine", "start the engine, or replace one of another version", show=False, id="app.engine"
        ),
    ]

    def __init__(
        self, home: Home, config: Config, *, starts_engine: bool = True, guard: TerminalGuard | None = None
    ) -> None:
        super().__init__()
        self.home = home
        self.config = config
        self.view = load_view(home, config)
        self._away_since = self.view.looked_at
        self.feed = Feed(home, first=[*self.view.marked, *filter(None, [self.view.cursor])])
        self.pulse = Pulse(EngineState.STARTING)
        self.has_unicode = supports_unicode(sys.__stderr__ or sys.stderr)
        self.removed: list[tuple[Run, ...]] = []
        self._starts_engine = starts_engine
        self._guard = guard
        self._num_asked = 0
        self._index_trouble: str | None = None
        self._saving: Timer | None = None
        """Runs while the view has changes that are not written yet."""
        self._healed_at = -SECONDS_BETWEEN_HEALINGS
        self._engine_trouble: str | None = None
        self._logout_risk: LogoutRisk | None = None
        # Before anything is on screen, so that nothing is styled twice.
        for theme in OWN_THEMES:
            self.register_theme(theme)
        self.theme = config.theme if config.theme in self.available_themes else THEMES[0]
        self.set_class(not self.has_unicode, "-ascii")

    def get_default_screen(self) -> Screen[None]:
        return HomeScreen()

    @property
    def has_colour(self) -> bool:
        return not self.no_color

    @property
    def curve_colours(self) -> tuple[int, ...]:
        return curve_colours(self.current_theme)

    @property
    def heat_colours(self) -> tuple[int, ...] | None:
        """Of a map, from the smallest number to the largest; None where there is no colour."""
        return heat_colours(self.current_theme) if self.has_colour else None

    def on_mount(self) -> None:
        self.set_keymap(self.config.keys)
        self.look()
        self.set_interval(SECONDS_BETWEEN_LOOKS, self.look)
        if self._guard is not None:
            self._guard.guard(self)
        # Behind the first frame, with which a thread would compete.
        self.call_after_refresh(self.run_worker, self.take_pulses())

    # What is read

    def look(self) -> None:
        """Read what was committed, and tell the screen on top."""
        try:
            news = self.feed.look()
        except DepthscopeError as error:
            self.set_index_trouble(trouble_words(error))
            if isinstance(error, DatabaseUnusable):
                self.heal_index()
            return
        self.set_index_trouble(None)
        if news.runs:
            self.screen.post_message(RunsChanged())
        tell_ends(self, news.finished)
        if news.curves:
            self.screen.post_message(CurvesChanged())

    def write_to_terminal(self, sequence: str) -> None:
        """Send a control sequence to the terminal itself."""
        if self._driver is not None:
            self._driver.write(sequence)

    def heal_index(self) -> None:
        """Have a damaged index built anew, off the UI thread and asked for now and then."""
        now = time.monotonic()
        if now - self._healed_at >= SECONDS_BETWEEN_HEALINGS:
            self._healed_at = now
            self.run_worker(self._heal_index())

    async def _heal_index(self) -> None:
        try:
            await in_background(heal, self.home)
        except DepthscopeError as error:
            self._engine_trouble = str(error)

    def set_index_trouble(self, text: str | None) -> None:
        if text != self._index_trouble:
            self._index_trouble = text
            self.screen.post_message(IndexTrouble(text))
            self.show_pulse()

    async def take_pulses(self) -> None:
        """Ask engine and devices again and again, off the UI thread; start an engine first where there is none."""
        if self._starts_engine:
            await self.launch_engine()
            # What ended while no engine was there to see it.
            self.look()
        if self._away_since is not None and has_ended_since(self.feed.runs.values(), self._away_since):
            self.run_worker(tell_away(self, self._away_since, asked=False))
        await self.tell_logout_risk()
        while True:
            self.pulse = await in_background(take_pulse, self.home)
            if self.pulse.engine is EngineState.UP:
                self._engine_trouble = None
            self.show_pulse()
            await asyncio.sleep(SECONDS_BETWEEN_PULSES)

    async def tell_logout_risk(self) -> None:
        """Say once, and again when the console is left, that a logout would end what trains here."""
        self._logout_risk = await in_background(find_logout_risk, self.home)
        if (risk := self._logout_risk) is not None:
            text = f"{risk.text}: {risk.remedy} keeps training going"
            self.notify(text, title="your logout ends training", severity="warning", markup=False, timeout=12)

    async def launch_engine(self, *, replaces: bool = False) -> None:
        """Start an engine where none serves, or in place of one that does; what went wrong stands in the banner."""
        try:
            await in_background(replace_engine if replaces else ensure_engine, self.home)
            self._engine_trouble = None
        except DepthscopeError as error:
            self._engine_trouble = str(error)
        self.pulse = await in_background(take_pulse, self.home)
        self.show_pulse()

    def show_pulse(self) -> None:
        if isinstance(self.screen, ConsoleScreen) and self.screen.is_mounted:
            self.screen.show_pulse()

    def troubles(self) -> list[str]:
        """What is wrong just now, a line each."""
        found = [self._index_trouble, self.pulse.trouble or self._engine_trouble]
        if self.size.width < LEAST_COLUMNS or self.size.height < LEAST_LINES:
            found.append(
                f"terminal too small: {self.size.width}x{self.size.height}, at least {LEAST_COLUMNS}x{LEAST_LINES}"
            )
        return [trouble for trouble in found if trouble is not None]

    def on_resize(self) -> None:
        self.show_pulse()

    # What is asked for

    @property
    def queue_state(self) -> QueueState:
        """How the queue as a whole is, as the engine said last."""
        greeting = self.pulse.greeting
        return QueueState.OPEN if greeting is None else greeting.queue

    def request(self, request: ChangeRequest | Sequence[ChangeRequest], done: str) -> None:
        """Ask the engine for a change, or for several in turn, off the UI thread, and say how it went."""
        self._num_asked += 1
        requests = tuple(request) if isinstance(request, Sequence) else (request,)
        self.run_worker(self._request(requests, done))

    async def _request(self, requests: Sequence[ChangeRequest], done: str) -> None:
        try:
            try:
                for request in requests:
                    await in_background(ask_for, self.home, request)
            finally:
                self._num_asked -= 1
        except EngineUnreachable as error:
            self.notify(str(error), title="not done yet", severity="error", markup=False, timeout=8)
        except DepthscopeError as error:
            self.notify(clean(str(error)), title="refused", severity="error", markup=False, timeout=8)
        else:
            self.notify(done, markup=False, timeout=3)
            self.look()
            # At once: what the next key does may depend on how the queue is now.
            self.pulse = await in_background(take_pulse, self.home)
            self.show_pulse()

    def save_view_soon(self) -> None:
        """Write the view in the background, once no key has changed it for a while."""
        if self._saving is not None:
            self._saving.stop()
        self._saving = self.set_timer(SECONDS_BEFORE_SAVING, self._save_view_in_background)

    def _save_view_in_background(self) -> None:
        self._saving = None
        self.run_worker(in_background(save_view, self.home, self.view))

    def save_view_now(self) -> None:
        """Write the view before the console ends."""
        if self._saving is not None:
            self._saving.stop()
            self._saving = None
        save_view(self.home, self.view)

    def on_unmount(self) -> None:
        # However it ends: what is not written yet is written now.
        if self._saving is not None:
            self.save_view_now()

    def copy(self, text: str, what: str) -> None:
        """Copy to the terminal's clipboard (OSC 52), and to a file, since many terminals keep the first from us."""
        self.copy_to_clipboard(text)
        path = self.save_text("copied.txt", text)
        where = f"; also in {path}" if path is not None else ""
        self.notify(f"{what} copied, if your terminal allows it{where}", markup=False)

    def save_text(self, name: str, text: str) -> Path | None:
        """Write a file for the user; None, said why, where that is not possible."""
        path = self.home.saved_charts / name
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            self.notify(f"{path} cannot be written: {error.strerror}", severity="error", markup=False)
            return None
        return path

    def save_chart(self, chart: Chart) -> None:
        """Write a chart as text and as SVG, and say where."""
        from console.charts.svg import chart_as_svg

        if chart.is_empty:
            self.notify("nothing to save: the chart has no curves yet", severity="warning")
            return
        width, height = max(chart.size.width, 60), max(chart.size.height, 16)
        stem = time.strftime("chart-%Y%m%d-%H%M%S")
        as_text = self.save_text(f"{stem}.txt", "\n".join(chart.as_lines(width=width, height=height, colour=False)))
        lines = chart.as_lines(width=width, height=height, colour=True)
        as_svg = self.save_text(f"{stem}.svg", chart_as_svg(lines, width=width, theme=self.current_theme))
        if as_text is not None and as_svg is not None:
            self.notify(f"written: {as_svg} and {as_text.name}", markup=False, timeout=8)

    # Screens

    def open_new(self, spec: RunSpec | None = None) -> None:
        """The form of a new experiment, filled in as a run was asked for."""
        from console.screens.new_experiment import NewExperimentScreen

        self.push_screen(NewExperimentScreen(spec))

    def open_run(self, run: str) -> None:
        """Everything about one run."""
        from console.screens.run import RunScreen

        self.push_screen(RunScreen(run))

    def open_comparison(self, experiment: str) -> None:
        """The networks of an experiment beside each other."""
        from console.screens.comparison import ComparisonScreen

        self.push_screen(ComparisonScreen(experiment))

    def action_keys(self) -> None:
        """What the focused panel shows, and every key."""
        from console.screens.help import KeysScreen

        if not isinstance(self.screen, KeysScreen):
            self.push_screen(KeysScreen(self.screen))

    def action_away(self) -> None:
        """What happened since the console was last open."""
        self.run_worker(tell_away(self, self._away_since, asked=True))

    def action_next_theme(self) -> None:
        """Dark, light, high contrast."""
        self.theme = THEMES[(THEMES.index(self.theme) + 1) % len(THEMES) if self.theme in THEMES else 0]
        self.screen.post_message(RunsChanged())
        self.screen.post_message(CurvesChanged())

    def action_start_engine(self) -> None:
        """Start the engine where it is down; one of another version makes room for ours, and workers go on."""
        self.run_worker(self.launch_engine(replaces=self.pulse.engine is EngineState.FOREIGN))

    def action_leave(self) -> None:
        """Leave; training goes on."""
        self.save_view_now()
        self.leave(0)

    def leave(self, status: int) -> None:
        """Leave with an exit status, once requests are answered and no screen is half composed: it would fall over."""
        if self._guard is not None:
            self._guard.end_in_time(status, "" if status else f"depthscope: {self.parting_words()}\r\n")
        if self._exit:
            # It has left and its screens are gone, while Ctrl-C or a signal came.
            return
        if self._saving is not None:
            # A signal came before the pause was over.
            self.save_view_now()
        if self.screen.is_mounted and not self._num_asked:
            self.exit(return_code=status)
        else:
            self.set_timer(SECONDS_BETWEEN_TRIES, lambda: self.leave(status))

    def _handle_exception(self, error: Exception) -> None:
        """Textual's end on an error; none where a screen looks for its parts while it is taken down."""
        if not (self._exit and isinstance(error, NoMatches)):
            super()._handle_exception(error)

    def parting_words(self) -> str:
        """What goes on when the console is gone."""
        runs = list(self.feed.runs.values())
        running = sum(run.status is RunStatus.RUNNING for run in runs)
        queued = sum(run.status is RunStatus.QUEUED for run in runs)
        if not running and not queued:
            return "nothing is being trained"
        waiting = f", {queued} in the queue" if queued else ""
        going = f"{running} {'run goes' if running == 1 else 'runs go'} on training"
        words = f"{going}{waiting}: `depthscope` shows them again"
        if (risk := self._logout_risk) is not None:
            words += f"\ndepthscope: your logout would end that, for {risk.text}: {risk.remedy} keeps it going"
        return words

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action that has a key here, in the command palette."""
        for active in screen.active_bindings.values():
            binding = active.binding
            if active.enabled and binding.id:
                yield SystemCommand(
                    binding.description,
                    f"key {self.get_key_display(binding)}",
                    lambda action=binding.action, node=active.node: self.run_worker(self.run_action(action, node)),
                )

    def action_command_palette(self) -> None:
        """Every action by its name."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(placeholder="words of a command"))

    def get_key_display(self, binding: Binding) -> str:
        shown = super().get_key_display(binding)
        return shown if self.has_unicode or shown.isascii() else binding.key.replace("_", " ")
