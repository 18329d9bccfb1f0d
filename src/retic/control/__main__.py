"""`python -m retic.control --config control.json`: the control plane as a process."""

import argparse
import asyncio
import logging
import pathlib
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog

from retic import wiring
from retic.control import cluster as on_cluster
from retic.control import config as settings
from retic.wiring import cluster


def main() -> int:
    """Run until SIGTERM or SIGINT. 1 with one line when the configuration or a port cannot be used."""
    parser = argparse.ArgumentParser(prog="retic.control")
    parser.add_argument("--config", type=pathlib.Path, required=True)
    parser.add_argument("--cluster", action="store_true", help="a replica on Kubernetes, not a machine's own")
    arguments = parser.parse_args()
    try:
        if arguments.cluster:
            told = on_cluster.load(arguments.config)
            _log(told.log_level)
            asyncio.run(_run(lambda stop: cluster.run(told, stop)))
        else:
            _log("info")
            given = settings.load(arguments.config)
            asyncio.run(_run(lambda stop: wiring.run(given, stop)))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"retic control plane: {error}", file=sys.stderr)
        return 1
    return 0


def _log(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )


async def _run(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await work(stop)


if __name__ == "__main__":
    sys.exit(main())
