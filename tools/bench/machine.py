"""What a result was made on, and when."""

import datetime
import os
import platform

import msgspec

from retic.node import envoy


class Machine(msgspec.Struct, frozen=True):
    """Where a run was made."""

    date: str
    kernel: str
    cores: int
    processor: str
    envoy: str
    python: str


def here() -> Machine:
    """This machine, now (UTC)."""
    return Machine(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        kernel=platform.release(),
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        envoy=envoy.check_version(envoy.binary()),
        python=platform.python_version(),
    )


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            field, _, value = line.partition(":")
            if field.strip() == "model name":
                return value.strip()
    return platform.machine()
