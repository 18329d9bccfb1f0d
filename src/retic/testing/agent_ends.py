"""What an agent's folder has for whoever asks: its reports, and an admin page as an Envoy has it. No Envoy runs."""

import asyncio
import contextlib
import pathlib
import time
import urllib.parse
from collections.abc import Iterable
from typing import Self

from envoy.config.core.v3 import base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf import any_pb2, wrappers_pb2

from retic.node import reports, switches
from retic.telemetry import intake, words

PAGE = (
    'envoy_retic_requests{l="destination shop/cart spiffe://cluster.local/ns/shop/sa/cart '
    'spiffe://cluster.local/ns/shop/sa/web shop/web;shop/cart HTTP/1.1 - 200 via_upstream G -"} %d\n'
)
"""A page with one series: calls of shop/web to shop/cart; so many that were answered with 200."""


class Agent:
    """The real `reports` with a real intake; `page` is what Envoy has counted, and `runtime` what it was told over its
    admin page. `pods` are the uids of its node's pods, "" for a gateway's."""

    def __init__(self, folder: pathlib.Path, pods: Iterable[str] = ("",)) -> None:
        self.folder = folder
        self.page = ""
        self.runtime: dict[str, str] = {}
        self.intake = intake.Intake(time.monotonic)
        self.switches = switches.Switches(lambda: [folder / "admin.sock"])
        self._reports = reports.Reports(self.intake, self.switches, lambda: tuple(pods))
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        self._servers.append(await asyncio.start_unix_server(self._admin, str(self.folder / "admin.sock")))
        await self.serve()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.switches.close()
        for server in self._servers:
            server.close()

    async def serve(self) -> None:
        """Serve reports at the agent's path."""
        self._servers.append(await self._reports.serve(self.folder / "reports.sock"))

    def take(self, *requests: accesslog_pb2.HTTPAccessLogEntry, side: str = "inbound") -> None:
        """Envoy reports these."""
        message = als_pb2.StreamAccessLogsMessage()
        message.http_logs.log_entry.extend(requests)
        self.intake.take(f"http/{side}", message)

    async def _admin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            target = urllib.parse.urlsplit(head.split(" ")[1])
            body = b'{"entries": {}}'
            if target.path == "/runtime_modify":
                self.runtime.update(urllib.parse.parse_qsl(target.query, keep_blank_values=True))
                body = b"OK\n"
            elif target.path == "/stats/prometheus":
                body = self.page.encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    @property
    def switched(self) -> set[str]:
        """The pods whose every request is reported."""
        return {key.removeprefix(words.SWITCHES) for key, value in self.runtime.items() if value}


def request(
    number: int, *, code: int = 403, details: str = "rbac_access_denied_matched_policy[shop/no/0]", path: str = "/",
    **states: str,
) -> accesslog_pb2.HTTPAccessLogEntry:  # fmt: skip
    """A request as Envoy reports it, with the id that `answer_id` says. `states` are of filter state: `pod`,
    `workload`, `peer`, `headers`."""
    made = accesslog_pb2.HTTPAccessLogEntry()
    common = made.common_properties
    common.stream_id = f"stream-{number}"
    common.start_time.GetCurrentTime()
    common.duration.FromMicroseconds(1500)
    common.custom_tags[words.Tag.ID] = answer_id(number)
    keys = {
        "pod": words.POD_STATE, "workload": words.WORKLOAD_STATE, "peer": words.PEER_STATE,
        "headers": words.HEADERS_STATE,
    }  # fmt: skip
    for name, text in states.items():
        packed = any_pb2.Any()
        packed.Pack(wrappers_pb2.StringValue(value=text))
        common.filter_state_objects[keys[name]].CopyFrom(packed)
    made.request.path = path
    made.request.authority = "cart"
    made.request.request_method = base_pb2.GET
    made.response.response_code.value = code
    made.response.response_code_details = details
    return made


def answer_id(number: int) -> str:
    """An id of an answer."""
    return f"00000000-0000-4000-8000-{number:012x}"
