"""Regenerate the README's pictures from an experiment in a home that no engine serves.

    depthscope train -a he-plain,he-resnet -d 20,56,110 --seeds 3 --width 8 --data cifar10-jpeg --train-images 2500 \
        --test-images 1000 --batch-size 32 --lr 0.02 --epochs 14 -e six-networks
    uv run python -m tests.pictures HOME
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from console.app import ConsoleApp
from console.screens.home import HomeScreen
from console.tui.config import Config
from engine.base.paths import Home
from tests.quiet_engine import QuietEngine

PICTURES = Path(__file__).parents[1] / ".github" / "pictures"
SIZE = (120, 36)
SCREENS = {
    "home": (),
    "new": (
        *("n", "down", "down", "down", "space", "down", "space"),
        *("tab", "space", "right", "right", "space", *["right"] * 6, "space"),
        *("tab", "tab", "0", "comma", "1", "comma", "2"),
    ),
    "run": ("enter",),
    "comparison": ("c",),
}
"""Keys that lead from the home screen to each picture."""
PATIENCE_SECONDS = 0.5


async def picture(home: Home, name: str, keys: tuple[str, ...]) -> None:
    """Save one screen as an SVG file."""
    app = ConsoleApp(home, Config(), starts_engine=False)
    async with app.run_test(size=SIZE) as pilot:
        first = app.screen_stack[0]
        assert isinstance(first, HomeScreen)
        while not first.summary_ready:
            await pilot.pause(0.01)
        for key in keys:
            await pilot.press(key)
        # Wait for the form's delayed update and the headline's first pulse.
        await pilot.pause(PATIENCE_SECONDS)
        (PICTURES / f"{name}.svg").write_text(app.export_screenshot(title="depthscope"))
    app.session.feed.close()


def main(source: Path) -> None:
    os.environ.update(LANG="C.UTF-8", TERM="xterm-256color")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("engine.*", "*.pt", "data", "*.lock"))
        home = Home(copy)
        with QuietEngine(home):
            for name, keys in SCREENS.items():
                home.view.unlink(missing_ok=True)
                began = time.perf_counter()
                asyncio.run(picture(home, name, keys))
                print(f"{name}.svg  {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
