"""The other end of the service: ask an authority for certificates over gRPC. Keeps nothing."""

from http import HTTPStatus
from typing import Any, TypeVar

import grpc
import grpc.aio
import msgspec

from retic.identity import readers, report, server, service

A = TypeVar("A", bound=msgspec.Struct)
SECONDS = 10.0  # the most that one call may take


def _same(data: bytes) -> bytes:
    return data


class Channel:
    """A channel to the control plane, whose certificate is verified against `roots` (PEM)."""

    def __init__(
        self, address: str, roots: bytes, key: bytes | None = None, chain: bytes | None = None
    ) -> None:
        credentials = grpc.ssl_channel_credentials(roots, key, chain)
        self.channel = grpc.aio.secure_channel(address, credentials, options=server.CHANNEL_OPTIONS)

    def __repr__(self) -> str:
        return "<Channel>"

    async def close(self) -> None:
        """End the channel and what runs on it."""
        await self.channel.close(None)

    async def enroll(self, client_id: str, token: str, request: bytes) -> service.Signed:
        """A certificate for the client itself. grpc.aio.AioRpcError when refused or unreachable."""
        asked = service.EnrollRequest(client_id=client_id, token=token, request=request.decode())
        return await self._call("Enroll", asked, service.Signed)

    async def sign(self, identity: str, request: bytes) -> service.Signed:
        """A certificate for an identity. grpc.aio.AioRpcError when refused or unreachable."""
        return await self._call("Sign", service.SignRequest(identity, request.decode()), service.Signed)

    async def bundle(self) -> service.Bundle:
        """The trust domain's roots. grpc.aio.AioRpcError when unreachable."""
        return await self._call("Bundle", service.BundleRequest(), service.Bundle)

    def roots(self) -> "grpc.aio.StreamStreamCall[bytes, bytes]":
        """The stream Roots. Payloads are those of `service`: Bundle comes, Holds goes."""
        method: Any = self.channel.stream_stream(f"/{service.NAME}/Roots", _same, _same)
        made: grpc.aio.StreamStreamCall[bytes, bytes] = method()  # the stubs want an iterator: we write
        return made

    async def report(self, said: report.Report) -> report.Noted:
        """Tell what this node has captured. grpc.aio.AioRpcError when refused or unreachable."""
        return await self._call("Report", said, report.Noted, of=report.NAME)

    async def may_read(self, token: str) -> HTTPStatus:
        """Whether a token's bearer may read metrics (`readers.Told`). grpc.aio.AioRpcError when unreachable."""
        return (await self._call("MayRead", readers.Asked(token), readers.Told, of=readers.NAME)).status

    async def _call(self, method: str, asked: msgspec.Struct, answer: type[A], *, of: str = service.NAME) -> A:
        call = self.channel.unary_unary(f"/{of}/{method}", _same, _same)
        data: bytes = await call(msgspec.json.encode(asked), timeout=SECONDS)
        return msgspec.json.decode(data, type=answer)
