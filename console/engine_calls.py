"""What the console asks of the engine off its UI thread; what asks is imported in the calls, behind the first frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.base.paths import Home
    from engine.control.protocol import ChangeRequest
    from engine.control.systemd import LogoutRisk


def ensure_engine(home: Home) -> None:
    """An engine that serves; imported here, since the first frame does not wait for what starts one."""
    from engine.control import launch

    launch.ensure_engine(home)


def replace_engine(home: Home) -> None:
    """An engine of this version in place of the one that serves; training goes on."""
    from engine.control import launch

    launch.restart(home)


def find_logout_risk(home: Home) -> LogoutRisk | None:
    """What would end the engine that serves when the user logs out."""
    from engine.control.systemd import risk_of_home

    return risk_of_home(home)


def ask_for(home: Home, request: ChangeRequest) -> None:
    """A change by the engine, which is started where there is none."""
    from engine import client

    client.change(home, request)


def heal(home: Home) -> None:
    """An index built anew where it is damaged, by the engine."""
    from engine import client

    client.heal(home)
