"""Run inside a pod: many requests, each answer compared with who this pod is. Prints JSON."""

import argparse
import asyncio
import json

import h2.config
import h2.connection
import h2.events


def caller(body):
    return json.loads(body)["headers"].get("x-forwarded-client-cert", "").rpartition("URI=")[2]


def address(body):
    return json.loads(body)["peer"].rpartition(":")[0]


class Count:
    def __init__(self, expected, who):
        self.expected, self.who, self.good, self.wrong, self.failed = expected, who, 0, [], 0

    def see(self, body):
        seen = self.who(body)
        if seen == self.expected:
            self.good += 1
        else:
            self.wrong.append(seen)


async def http1(host, port, requests, count):
    reader, writer = await asyncio.open_connection(host, port)
    line = f"GET /who HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
    for _ in range(requests):
        writer.write(line)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(f.split(b": ", 1) for f in head.lower().split(b"\r\n")[1:] if f)
        body = await reader.readexactly(int(fields[b"content-length"]))
        if head.split(b" ", 2)[1] == b"200":
            count.see(body)
        else:
            count.failed += 1
    writer.close()


async def http2(host, port, requests, count):
    reader, writer = await asyncio.open_connection(host, port)
    conn = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    conn.initiate_connection()
    bodies, left = {}, requests

    def ask():
        stream = conn.get_next_available_stream_id()
        conn.send_headers(
            stream, [(":method", "GET"), (":path", "/who"), (":scheme", "http"), (":authority", host)],
            end_stream=True,
        )
        bodies[stream] = b""

    for _ in range(min(10, left)):
        ask()
        left -= 1
    writer.write(conn.data_to_send())
    while bodies:
        data = await reader.read(65536)
        assert data, "closed"
        for event in conn.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] += event.data
                conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                bodies.pop(event.stream_id)
                count.failed += 1
            elif isinstance(event, h2.events.StreamEnded):
                count.see(bodies.pop(event.stream_id))
                if left:
                    ask()
                    left -= 1
        writer.write(conn.data_to_send())
    writer.close()


async def tcp(host, port, requests, count):
    reader, writer = await asyncio.open_connection(host, port)
    for number in range(requests):
        writer.write(f"line {number}\n".encode())
        parts = (await reader.readline()).decode().split(" ")
        if parts[2].rpartition(":")[0] == count.expected:
            count.good += 1
        else:
            count.wrong.append(parts[2])
    writer.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["http1", "http2", "tcp"])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("expected")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--by", choices=["caller", "address"], default="caller")
    given = parser.parse_args()
    count = Count(given.expected, {"caller": caller, "address": address}[given.by])
    run = {"http1": http1, "http2": http2, "tcp": tcp}[given.kind]
    for _ in range(given.rounds):
        await asyncio.gather(
            *(run(given.host, given.port, given.requests, count) for _ in range(given.connections))
        )
    print(json.dumps({"good": count.good, "wrong": count.wrong[:5], "failed": count.failed}))


asyncio.run(main())
