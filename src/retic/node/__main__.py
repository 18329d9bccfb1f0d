"""`python -m retic.node --config agent.json`: runs one agent until SIGTERM or SIGINT.

With `handover_seconds` it goes on so long, for a successor to take over; a second SIGTERM ends it at once.
SIGUSR1 ends the agent and leaves its Envoy running, for the next agent to adopt; so does a kill -9. SIGHUP has
Envoy replaced, without a connection lost.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import pathlib
import signal
import sys

import msgspec
import structlog

from retic.node import agent, config, envoy


def main() -> int:
    """Exit status 2 for a configuration that cannot be used, 1 for a failure, else 0."""
    parser = argparse.ArgumentParser(prog="python -m retic.node", description="A node's or gateway's agent.")
    parser.add_argument("--config", type=pathlib.Path, required=True, help="agent.json")
    file = parser.parse_args().config
    os.umask(0o077)
    _log_json()
    log = structlog.get_logger("retic.node")
    try:
        settings = config.load(file)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        log.error("the configuration cannot be used", file=str(file), reason=str(error))
        return 2
    structlog.contextvars.bind_contextvars(agent=settings.id)
    try:
        asyncio.run(_run(settings))
    except envoy.UnusableEnvoyError as error:
        log.error("no usable Envoy", reason=str(error))
        return 1
    return 0


async def _run(settings: config.Config) -> None:
    stop, leave, at_once = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if stop.is_set():
            at_once.set()
        stop.set()

    def leave_envoy() -> None:
        leave.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGUSR1, leave_envoy)
    with contextlib.suppress(asyncio.CancelledError):
        again = True
        while again:
            made = agent.Agent(settings)
            loop.add_signal_handler(signal.SIGHUP, made.proxies.replace_soon, "SIGHUP")
            running = asyncio.create_task(made.run(stop, leave))
            ending = asyncio.create_task(at_once.wait())
            await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                running.cancel()
            ending.cancel()
            again = await running


def _log_json() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
