"""`python -m retic.node [--config agent.json]`: runs one agent until SIGTERM or SIGINT.

Without a file the configuration is a cluster's, from the environment. `supervise` starts the agent again when it dies;
`cni install` and `cni remove` put the CNI plugin into the node's chain and take it out; `clean-up` removes all that
agents have left on the node, and stays.

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

from retic.node import agent, chain, cleaning, cluster, config, envoy


def main() -> int:
    """Exit status 2 for a configuration that cannot be used, 1 for a failure, else 0."""
    parser = argparse.ArgumentParser(prog="python -m retic.node", description="A node's or gateway's agent.")
    parser.add_argument("--config", type=pathlib.Path, help="agent.json; without it the environment of a cluster's pod")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("supervise", help="run the agent, again whenever it dies")
    commands.add_parser("clean-up", help="remove what agents have left on this node, and stay")
    cni = commands.add_parser("cni", help="the plugin in the node's chain")
    cni.add_argument("what", choices=["install", "remove"])
    given = parser.parse_args()
    os.umask(0o077)
    _log_json()
    match given.command:
        case "supervise":  # as another program, which is small
            more = ["--config", str(given.config)] if given.config else []
            os.execv(sys.executable, [sys.executable, "-m", "retic.node.supervise", *more])
        case "clean-up":
            return cleaning.clean_and_stay(os.environ)
        case "cni":
            return _cni(given.what)
    return _run_agent(given.config)


def _cni(what: str) -> int:
    log = structlog.get_logger("retic.node")
    where = cluster.plugin(os.environ)
    try:
        if what == "install":
            chain.install(where)
        else:
            log.info("the CNI plugin is removed", files=chain.remove(where))
    except (OSError, chain.UnusableError) as error:
        log.error("the node's chain of CNI plugins stays as it is", reason=str(error))
        return 1
    return 0


def _run_agent(file: pathlib.Path | None) -> int:
    log = structlog.get_logger("retic.node")
    try:
        settings = config.load(file) if file else cluster.settings(os.environ)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        log.error("the configuration cannot be used", file=str(file or "environment"), reason=str(error))
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
    """To standard error, from the level that RETIC_LOG_LEVEL names; INFO when it names none."""
    level = logging.getLevelNamesMapping().get(os.environ.get("RETIC_LOG_LEVEL", "").upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
