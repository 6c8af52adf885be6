"""End of a time budget, which a jump of the clock does not move."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Deadline:
    """End of a time budget.

    On the machine that has set it, it is compared with a clock that counts the seconds since the boot: setting the time
    of day does not change it. Other machines, on which workers run, compare it with their time of day.

    Attributes
    ----------
    since_boot : float
        Seconds after the boot of the machine, with those in which it slept.
    boot : str
        Identifier of that boot; empty if it is unknown.
    unix : float
        Unix time in seconds.
    """

    since_boot: float
    boot: str
    unix: float = field(compare=False)

    @classmethod
    def at(cls, since_boot: float) -> Deadline:
        """Return the deadline at a time of `seconds_since_boot`."""
        return cls(since_boot, _boot(), time.time() + since_boot - seconds_since_boot())

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that lies some seconds ahead."""
        return cls.at(seconds_since_boot() + seconds)

    @property
    def left(self) -> float:
        """Seconds until the deadline; negative after it."""
        if self.boot and self.boot == _boot():
            return self.since_boot - seconds_since_boot()
        return self.unix - time.time()

    @property
    def passed(self) -> bool:
        """Whether the deadline has passed."""
        return self.left <= 0


def seconds_since_boot() -> float:
    """Return the seconds since the boot of this machine, or since another fixed time."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux only; unlike time.monotonic() it counts in sleep
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
