"""The console's themes and their curve colours, which colour-blind people can tell apart."""

from __future__ import annotations

from textual.theme import Theme

from console.charts.styles import COLOURS_ON_DARK, COLOURS_ON_LIGHT, HEAT_ON_DARK, HEAT_ON_LIGHT

DARK = Theme(
    name="depthscope-dark",
    primary="#5fafff",
    secondary="#87afd7",
    accent="#ffaf00",
    warning="#ffaf00",
    error="#ff8787",
    success="#5fd787",
    foreground="#d0d0d0",
    background="#101418",
    surface="#161b20",
    panel="#222a32",
    dark=True,
)
LIGHT = Theme(
    name="depthscope-light",
    primary="#005faf",
    secondary="#5f5f87",
    accent="#af5f00",
    warning="#875f00",
    error="#af0000",
    success="#005f00",
    foreground="#1c1c1c",
    background="#ffffff",
    surface="#f4f4f4",
    panel="#e4e8ec",
    dark=False,
)
HIGH_CONTRAST = Theme(
    name="high-contrast",
    primary="#00ffff",
    secondary="#ffffff",
    accent="#ffff00",
    warning="#ffff00",
    error="#ff8080",
    success="#00ff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#303030",
    dark=True,
)
OWN_THEMES = (DARK, LIGHT, HIGH_CONTRAST)


def heat_colours(theme: Theme) -> tuple[int, ...]:
    """Colours (of the 256) for a heat map on a theme's background, from the smallest value to the largest."""
    return HEAT_ON_DARK if theme.dark else HEAT_ON_LIGHT


def curve_colours(theme: Theme) -> tuple[int, ...]:
    """Colours (of the 256) for curves on a theme's background."""
    return COLOURS_ON_DARK if theme.dark else COLOURS_ON_LIGHT
