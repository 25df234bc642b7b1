"""For a control: a process with this folder in PYTHONPATH gets every lock that it asks for, as if nobody held it."""

from __future__ import annotations

import fcntl

fcntl.flock = lambda _descriptor, _operation: None
