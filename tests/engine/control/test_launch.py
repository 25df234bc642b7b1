"""Patience of the process that starts an engine."""

from __future__ import annotations

import os
import threading

import pytest

from engine.control import launch

PATIENCE_SECONDS = 0.5


@pytest.mark.parametrize("num_signs", [0, 12])
def test_waits_while_the_engine_reports_progress(num_signs: int, monkeypatch: pytest.MonkeyPatch):
    """An engine that reports progress gets more time; a silent one does not."""
    monkeypatch.setattr(launch, "START_PATIENCE_SECONDS", PATIENCE_SECONDS)
    reading, writing = os.pipe()
    ended = threading.Event()

    def speak() -> None:
        for _ in range(num_signs):
            os.write(writing, b".")
            ended.wait(PATIENCE_SECONDS / 6)
        if num_signs == 0:
            ended.wait(60)
        os.close(writing)

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        assert (launch.read_ready(reading) is not None) is (num_signs > 0)
    finally:
        ended.set()
        speaker.join()
        os.close(reading)
