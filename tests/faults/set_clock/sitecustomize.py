"""Wall clock set by a test: every Python process with this folder on PYTHONPATH reads its offset from a file.

The monotonic clock is unaffected, as when an administrator or NTP sets the time.
"""

from __future__ import annotations

import os
import time

_real_time = time.time
_offset_file = os.environ["DEPTHSCOPE_TEST_CLOCK"]


def _set_time() -> float:
    with open(_offset_file, encoding="ascii") as file:  # noqa: PTH123 - this process has loaded nothing yet
        return _real_time() + float(file.read() or 0)


time.time = _set_time
