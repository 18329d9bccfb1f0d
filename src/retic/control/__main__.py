"""`python -m retic.control --config control.json`: the control plane as a process."""

import argparse
import asyncio
import logging
import pathlib
import signal
import sys

import structlog

from retic import wiring
from retic.control import config as settings


def main() -> int:
    """Run until SIGTERM or SIGINT. 1 with one line when the configuration or a port cannot be used."""
    parser = argparse.ArgumentParser(prog="retic.control")
    parser.add_argument("--config", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    try:
        asyncio.run(_run(settings.load(arguments.config)))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"retic control plane: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(config: settings.Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await wiring.run(config, stop)


if __name__ == "__main__":
    sys.exit(main())
