"""For a control: a process with this folder on PYTHONPATH acquires every lock, even if it is held."""

from __future__ import annotations

import fcntl

fcntl.flock = lambda _descriptor, _operation: None
