"""`python -m retic.local.cluster --config STATE/cluster.json`: the first process of a mesh's namespaces."""

import argparse
import asyncio
import logging
import pathlib
import signal
import sys

import structlog

from retic.local import broker, state
from retic.local.cluster import cluster
from retic.local.sandbox import fabric

log = structlog.get_logger("retic.local")


def main() -> int:
    """Run until SIGTERM; 1 with one line when the mesh cannot be started."""
    parser = argparse.ArgumentParser(prog="retic.local.cluster")
    parser.add_argument("--config", type=pathlib.Path, required=True)
    path = parser.parse_args().config
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    config = state.read_config(path)
    return asyncio.run(_run(config))


async def _run(config: state.Config) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    outside = broker.inherited()
    fab = await fabric.Fabric.start(pathlib.Path(config.state), config.nodes)
    made = cluster.Cluster(config, fab, outside)
    code = 0
    starting = asyncio.create_task(made.start(), name="start")
    lost = [asyncio.create_task(e.wait()) for e in (outside.lost, fab.lost, stop)]
    try:
        await asyncio.wait({starting, *lost}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await asyncio.wait(lost, return_when=asyncio.FIRST_COMPLETED)
    except Exception:
        log.exception("the mesh could not be started")
        code = 1
    finally:
        for task in (starting, *lost):
            task.cancel()
        if not (outside.lost.is_set() or fab.lost.is_set()):
            await made.close()
        fab.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
