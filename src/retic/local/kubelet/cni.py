"""Asking a node's agent to capture a pod, or to let it go: one JSON line each way on its socket.

Fails closed: whoever asks starts no container before `add` has returned.
"""

import asyncio
import pathlib
from typing import Any

import msgspec

from retic.objects import pods as structs

_SECONDS = 30.0


class Refused(Exception):  # noqa: N818
    """The agent is not there or says no; the message says why."""


async def add(socket: pathlib.Path, pod: structs.Pod, netns: str) -> None:
    """Capture the pod. Raises Refused."""
    await _ask(
        socket,
        {
            "add": {
                "uid": pod.metadata.uid,
                "namespace": pod.metadata.namespace,
                "name": pod.metadata.name,
                "ip": pod.status.pod_ip,
                "service_account": pod.spec.service_account_name,
                "netns": netns,
            }
        },
    )


async def delete(socket: pathlib.Path, uid: str) -> None:
    """Let the pod go. Raises Refused."""
    await _ask(socket, {"del": {"uid": uid}})


async def _ask(socket: pathlib.Path, request: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(msgspec.json.encode(request) + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    except TimeoutError as error:
        raise Refused(f"the node's agent did not answer within {_SECONDS:g} s") from error
    except OSError as error:
        raise Refused(f"the node's agent is not there: {error.strerror}") from error
    try:
        answer = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise Refused("the node's agent ended while it was asked") from error
    if "error" in answer:
        raise Refused(f"the node's agent says: {answer['error']}")
