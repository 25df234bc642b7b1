"""Which start of the machine this is: a worker of an earlier one has ended with it, through no fault of its own."""

from __future__ import annotations

from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str | None:
    """What Linux calls this start of the machine; None where the kernel does not tell."""
    try:
        return BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def is_another_boot(boot: str | None) -> bool:
    """Whether something that noted a boot id belongs to another start of the machine than this one."""
    now = boot_id()
    return boot is not None and now is not None and boot != now
