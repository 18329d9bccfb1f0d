"""An external authorizer that is asked by HTTP/1.1: 200 allows; `authorizers` has what it decides."""

import asyncio
import http

from retic.testing.apps import authorizers, echo_http, start


class Authorizer:
    """Answers the requests of one connection; `identity` says who answers."""

    def __init__(self, identity: start.Identity) -> None:
        self._name = identity.name

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the peer ends it."""
        while True:
            head = echo_http.Head((await reader.readuntil(b"\r\n\r\n"))[:-4])
            body = await reader.readexactly(int(head.headers.get("content-length", "0")))
            by = head.headers.get("x-forwarded-client-cert", "")
            asked = authorizers.Asked(head.method, head.target, head.headers, body, "", by)
            verdict = authorizers.decide(asked, self._name)
            await asyncio.sleep(verdict.delay)
            if verdict.garbage:
                writer.write(b"this is no HTTP\r\n\r\n")
                return
            writer.write(_bytes(verdict))
            await writer.drain()


def _bytes(verdict: authorizers.Verdict) -> bytes:
    lines = [f"HTTP/1.1 {verdict.status} {http.HTTPStatus(verdict.status).phrase}"]
    lines += [f"{key}: {value}" for key, value in {**verdict.upstream, **verdict.downstream}.items()]
    lines += [f"content-length: {len(verdict.body.encode())}", "", verdict.body]
    return "\r\n".join(lines).encode()


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    await start.serve_streams(given, Authorizer(given.identity).answer)


if __name__ == "__main__":
    asyncio.run(main())
