"""Whether the proxies have heard of a change: asked before a pod that has left its endpoints is told to end.

On a machine that has much to do, the time that a pod is given anyhow (`host.Host.drain`) may be over before the last
proxy knows. A connection made to the pod after that would go nowhere until it is given up.
"""

import asyncio
import contextlib
import pathlib

import msgspec

SECONDS = 2.0
"""So long at most; where the control plane is away, or a proxy is, nobody waits for more."""


async def everywhere(control: pathlib.Path, seconds: float = SECONDS) -> None:
    """Until every proxy has acknowledged what the control plane has for it now. `control` is its socket for commands.

    What the control plane has not read itself by then is not waited for: it had the time that a pod is given anyhow.
    """
    with contextlib.suppress(OSError, TimeoutError, ValueError):  # of an answer that is too long
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(control)
            try:
                writer.write(msgspec.json.encode({"ask": "converged", "seconds": seconds}) + b"\n")
                await reader.readline()
            finally:
                writer.close()
