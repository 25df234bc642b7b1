"""The console: a Textual app over the index and the engine's socket. It holds no state that training depends on."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.css.query import NoMatches
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.timer import Timer

from console.notify import FinishedRuns, any_finished_since, show_digest
from console.screens.home import HomeScreen
from console.text.formatting import clean
from console.tui.config import THEMES, Config
from console.tui.engine_link import PulseChanged
from console.tui.feed import CurvesChanged, RunsChanged
from console.tui.session import RunsEnded, Session
from console.tui.terminal_guard import TerminalGuard
from console.tui.themes import OWN_THEMES
from console.widgets.key_bar import KeyBar
from console.widgets.question import Question
from engine.base.paths import Home
from engine.runs.run import RunStatus
from engine.spec.config_file import Problem, notice

SECONDS_BETWEEN_LOOKS = 0.5
"""Redraw at most twice a second."""
SECONDS_BETWEEN_TRIES = 0.02
"""Retry interval for exiting while a screen is still composing."""


class ConsoleApp(App[None]):
    """The app: all screens, sharing one session.

    Args:
        home: Home whose runs are shown.
        config: The user's settings.
        starts_engine: Whether to start the engine if it is not running.
        guard: Ends the app when its terminal goes away; None without a terminal.
        problems: What is wrong in config.toml; the defaults are used instead.
    """

    CSS_PATH = "console.tcss"
    TITLE = "depthscope"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "keys", "help", key_display="?", id="app.help"),
        Binding("q", "leave", "quit", id="app.quit"),
        Binding("ctrl+c", "leave", "quit", show=False, priority=True, id="app.interrupt", system=True),
        Binding("T", "next_theme", "theme", show=False, id="app.theme"),
        Binding("exclamation_mark", "messages", "messages", key_display="!", show=False, id="app.messages"),
        Binding("W", "away", "while you were away", show=False, id="app.away"),
        Binding(
            "E", "start_engine", "start the engine, or replace one of another version", show=False, id="app.engine"
        ),
    ]

    def __init__(
        self,
        home: Home,
        config: Config,
        *,
        starts_engine: bool = True,
        guard: TerminalGuard | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__()
        self.session = Session(self, home, config)
        self._finished = FinishedRuns(self.session)
        self._starts_engine = starts_engine
        self._guard = guard
        self._notice_end: Timer | None = None
        self._problems = problems
        # Before the first frame, so that nothing is styled twice.
        for theme in OWN_THEMES:
            self.register_theme(theme)
        self.theme = config.theme if config.theme in self.available_themes else THEMES[0]
        self.set_class(not self.session.has_unicode, "-ascii")

    def get_default_screen(self) -> Screen[None]:
        return HomeScreen(self.session)

    def on_mount(self) -> None:
        self.set_keymap(self.session.config.keys)
        self.session.look()
        self.set_interval(SECONDS_BETWEEN_LOOKS, self.session.look)
        if self._guard is not None:
            self._guard.guard(self.leave)
        if self._problems:
            self.notify(notice(self._problems), severity="warning", markup=False)
        # After the first frame, which a thread would slow down.
        self.call_after_refresh(self.run_worker, self.watch_engine())
        self.call_after_refresh(gc.enable)

    async def watch_engine(self) -> None:
        """Start the engine if needed, show the digest and warnings, and keep reading the engine's status."""
        session = self.session
        if self._starts_engine:
            await session.engine.start(trains=False)
            # Read what the new engine found finished.
            session.look()
            self.ask_to_continue()
        if session.away_since is not None and any_finished_since(session.feed.runs.values(), session.away_since):
            self.run_worker(show_digest(session, asked=False))
        await session.engine.find_logout_risk()
        await session.engine.watch()

    def ask_to_continue(self) -> None:
        """Ask whether interrupted training continues."""
        home = self.screen_stack[0]
        if (what := self.session.engine.interruption) is None or not isinstance(home, HomeScreen):
            return

        def continue_if_yes(answer: str) -> None:
            if answer.strip().lower() in ("y", "yes"):
                self.action_start_engine()

        home.query_one(Question).ask(f"Continue training? y/n  ({what})", continue_if_yes, hint="n")

    @on(RunsEnded)
    def notify_runs_finished(self, message: RunsEnded) -> None:
        self._finished.add(message.runs)
        self.show_notices()

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,  # noqa: ARG002 - the signature is Textual's
    ) -> None:
        """Show a notice on the line of the key bar, where it covers nothing but keys; `markup` is ignored."""
        text = f"{title}: {message}" if title else message
        self.session.notices.add(clean(text), severity, seconds=timeout)
        self.show_notices()

    def show_notices(self) -> None:
        """Show the current notice, and the keys again when its time has run out."""
        if self._notice_end is not None:
            self._notice_end.stop()
            self._notice_end = None
        for screen in self.screen_stack:
            for bar in screen.query(KeyBar):
                bar.refresh()
        if (seconds := self.session.notices.seconds_left()) is not None:
            self._notice_end = self.set_timer(seconds, self.show_notices)

    def action_messages(self) -> None:
        """Show the latest messages in full."""
        from console.screens.help import MessagesScreen

        if not isinstance(self.screen, MessagesScreen):
            self.push_screen(MessagesScreen(self.session))

    def on_resize(self) -> None:
        # Headline and banner depend on the size.
        self.screen.post_message(PulseChanged())

    def action_keys(self) -> None:
        """Open help for the focused panel and all keys."""
        from console.screens.help import KeysScreen

        if not isinstance(self.screen, KeysScreen):
            self.push_screen(KeysScreen(self.screen))

    def action_away(self) -> None:
        """Show what happened since the console was last open."""
        self.run_worker(show_digest(self.session, asked=True))

    def action_next_theme(self) -> None:
        """Switch to the next theme: dark, light, high contrast."""
        self.theme = THEMES[(THEMES.index(self.theme) + 1) % len(THEMES) if self.theme in THEMES else 0]
        self.screen.post_message(RunsChanged())
        self.screen.post_message(CurvesChanged())

    def action_start_engine(self) -> None:
        """Start the engine, or replace one of another version; workers keep running."""
        self.run_worker(self.session.engine.start(trains=True))

    def action_leave(self) -> None:
        """Quit the console; training continues."""
        self.leave(0)

    def leave(self, status: int) -> None:
        """Exit with a status once all requests are answered and the top screen is composed, or it would crash."""
        if self._guard is not None:
            self._guard.end_in_time(status, "" if status else f"depthscope: {self.exit_message()}\r\n")
        # Before the guard may end the process.
        self.session.save_view_now()
        self._exit_when_ready(status)

    def _exit_when_ready(self, status: int) -> None:
        if self._exit:
            # Already exiting; Ctrl-C or a signal arrived again.
            return
        if self.screen.is_mounted and not self.session.engine.num_asked:
            self.exit(return_code=status)
        else:
            self.set_timer(SECONDS_BETWEEN_TRIES, lambda: self._exit_when_ready(status))

    def on_unmount(self) -> None:
        # Save however the app ends.
        if self.session.is_view_unsaved:
            self.session.save_view_now()

    def _handle_exception(self, error: Exception) -> None:
        """Ignore lookups that fail because a screen is being removed on exit."""
        if not (self._exit and isinstance(error, NoMatches)):
            super()._handle_exception(error)

    def exit_message(self) -> str:
        """Return the message on exit: what is still training."""
        runs = list(self.session.feed.runs.values())
        running = sum(run.status is RunStatus.RUNNING for run in runs)
        queued = sum(run.status is RunStatus.QUEUED for run in runs)
        if not running and not queued:
            return "nothing is being trained"
        waiting = f", {queued} in the queue" if queued else ""
        training = f"{running} {'run goes' if running == 1 else 'runs go'} on training"
        text = f"{training}{waiting}: `depthscope` shows them again"
        if (risk := self.session.engine.logout_risk) is not None:
            text += f"\ndepthscope: your logout would end that, for {risk.text}: {risk.remedy} keeps it going"
        return text

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield a palette command for every action with a key on this screen."""
        for active in screen.active_bindings.values():
            binding = active.binding
            if active.enabled and binding.id:
                yield SystemCommand(
                    binding.description,
                    f"key {self.get_key_display(binding)}",
                    lambda action=binding.action, node=active.node: self.run_worker(self.run_action(action, node)),
                )

    def action_command_palette(self) -> None:
        """Open the command palette."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(placeholder="words of a command"))

    def get_key_display(self, binding: Binding) -> str:
        shown = super().get_key_display(binding)
        return shown if self.session.has_unicode or shown.isascii() else binding.key.replace("_", " ")
