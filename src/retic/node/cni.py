"""The socket on which pods are announced: one JSON object a line, one line back, many lines a connection.

`{"add": POD}` answers `{"ok": true}` once the pod is captured, `{"del": {"uid"}}` once it is released,
`{"list": true}` `{"pods": [...]}`, `{"identities": [ID...]}` once the agent holds these too; what fails
answers `{"error": TEXT}`. While another agent takes over, requests wait, and are passed on to it. The socket's
mode (0600, in a folder of 0700) is its whole access control.
"""

import asyncio
import pathlib

import msgspec
import structlog

from retic.identity import spiffe
from retic.node import gate, pods, sockets

_log = structlog.get_logger("retic.node")


class _Uid(msgspec.Struct, frozen=True):
    uid: str


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    add: pods.Pod | None = None
    delete: _Uid | None = msgspec.field(name="del", default=None)
    list: bool = False
    identities: tuple[str, ...] | None = None


async def serve(socket: pathlib.Path, known: pods.Pods) -> asyncio.Server:
    """Serve on the socket."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                try:
                    answer = msgspec.json.encode(await _answer(line, known)) + b"\n"
                except gate.SupersededError:  # whoever serves at the path by now has the pods
                    answer = await sockets.pass_on(socket, line)
                writer.write(answer)
                await writer.drain()
        except (OSError, ValueError) as error:
            _log.warning("a CNI connection ended", reason=str(error))
        finally:
            writer.close()

    return await sockets.serve(socket, connected)


async def _answer(line: bytes, known: pods.Pods) -> dict[str, object]:
    try:
        request = msgspec.json.decode(line, type=_Request)
        if request.add is not None:
            await known.add(request.add)
        elif request.delete is not None:
            await known.delete(request.delete.uid)
        elif request.identities is not None:
            await known.set_identities(request.identities)
        elif request.list:
            async with known.gate:
                return {"pods": known.all()}
        else:
            return {"error": 'write {"add": ...}, {"del": ...}, {"list": true} or {"identities": [...]}'}
    except (msgspec.DecodeError, spiffe.InvalidIdError, pods.EnrolError) as error:
        _log.warning("a CNI request failed", reason=str(error))
        return {"error": str(error)}
    except gate.SupersededError:
        raise
    except Exception as error:
        _log.exception("a CNI request failed")
        return {"error": f"the agent failed: {error!r}"}
    return {"ok": True}
