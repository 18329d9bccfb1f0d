"""Run inside a pod: a WebSocket, a gRPC stream and a TCP connection that stay open. For each line read, a message on
each, and a line of JSON: what came back on each, or the error."""

import asyncio
import json
import sys

import grpc.aio
import websockets.asyncio.client


class Streams:
    async def open(self):
        self.ws = await websockets.asyncio.client.connect("ws://app/ws", proxy=None)
        await self.ws.recv()
        self.tcp = await asyncio.open_connection("tcp", 7000)
        channel = grpc.aio.insecure_channel("grpc:9000", [("grpc.enable_http_proxy", 0)])
        self.call = channel.stream_stream("/retic.testing.Echo/Chat")()

    async def websocket(self, line):
        await self.ws.send(line)
        return str(await self.ws.recv())

    async def stream(self, line):
        await self.call.write(json.dumps({"message": line}).encode())
        return (await self.call.read()).decode()

    async def connection(self, line):
        self.tcp[1].write(f"{line}\n".encode())
        return (await self.tcp[0].readline()).decode()


async def main():
    streams = Streams()
    await streams.open()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().strip():
        said = {}
        for name in ("websocket", "stream", "connection"):
            try:
                async with asyncio.timeout(5):
                    said[name] = await getattr(streams, name)(line)
            except Exception as error:
                said[name] = f"error {error!r}"
        print(json.dumps(said), flush=True)


asyncio.run(main())
