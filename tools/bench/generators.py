"""Load, from inside a place: at saturation by wrk and h2load where installed, at a fixed rate by our own.

h2load and wrk are closed loops: each connection asks again as soon as it was answered. Our own generator has
an open loop of Poisson arrivals and counts latency from when a request was due. Every run is bounded in time
and in connections.
"""

import json
import re
import shutil

import msgspec
from tools.bench import places, ports

from retic.testing.load import cpu

CONNECTIONS = 32
H2_CONNECTIONS, H2_STREAMS = 4, 8
OPEN_CONNECTIONS = 16
RATE = 500.0
_WARM_UP = 0.5
_SPARE_SECONDS = 30.0


class Path(msgspec.Struct, frozen=True):
    """One way from a client to a server: where the client is, the server's address, the proxies between, and other
    processes that work for the requests."""

    name: str
    client: places.Place
    address: str
    proxies: tuple[int, ...]
    others: tuple[int, ...] = ()

    def url(self, protocol: ports.Protocol, *, scheme: str = "http") -> str:
        return f"{scheme}://{self.address}:{protocol.port}/"


class Load(msgspec.Struct, frozen=True):
    """One run: requests per second, processor µs of all proxies per request, percentiles in ms; `others_us` as `cpu_us`
    of the path's other processes."""

    rate: float
    cpu_us: float
    p50: float
    p99: float
    others_us: float = 0.0


def saturate(path: Path, protocol: ports.Protocol, seconds: int) -> Load:
    """As many requests as the path carries. RuntimeError when any failed."""
    meter = cpu.Meter((*path.proxies, *path.others))
    if protocol is ports.Protocol.HTTP2 and shutil.which("h2load"):
        asked = _h2load(path, protocol, seconds)
    elif protocol is not ports.Protocol.HTTP2 and shutil.which("wrk"):
        asked = _wrk(path, protocol, seconds)
    else:
        asked = _own(path, protocol, seconds, rate=0.0)[0]
    cpu_us, others_us = _spent(meter, path, asked)
    return Load(rate=asked / seconds, cpu_us=cpu_us, p50=0.0, p99=0.0, others_us=others_us)


def steady(path: Path, protocol: ports.Protocol, seconds: int) -> Load:
    """`RATE` requests a second, at random times. RuntimeError when any failed."""
    meter = cpu.Meter((*path.proxies, *path.others))
    answered, percentiles = _own(path, protocol, seconds, rate=RATE)
    # The proxies also worked for the warm-up's requests, which are not in the count.
    cpu_us, others_us = _spent(meter, path, answered * (seconds + _WARM_UP) / seconds)
    return Load(answered / seconds, cpu_us, percentiles["p50"], percentiles["p99"], others_us)


def _spent(meter: cpu.Meter, path: Path, requests: float) -> tuple[float, float]:
    """µs for each request: of the proxies, and of the others."""
    used = meter.used()
    proxies, others = (sum(used[pid] for pid in pids) for pids in (path.proxies, path.others))
    return proxies / requests * 1e6, others / requests * 1e6


def tools() -> dict[str, str]:
    """What makes the load at saturation, by protocol."""
    ours = "retic.testing.load"
    wrk = "wrk" if shutil.which("wrk") else ours
    h2load = "h2load" if shutil.which("h2load") else ours
    return {p.title: h2load if p is ports.Protocol.HTTP2 else wrk for p in ports.Protocol}


def _wrk(path: Path, protocol: ports.Protocol, seconds: int) -> float:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", path.url(protocol)]
    return parse_wrk(path.client.run(command, seconds=seconds + _SPARE_SECONDS))


def parse_wrk(said: str) -> float:
    """How many requests wrk made. RuntimeError when some failed or there were none."""
    asked = re.search(r"(\d+) requests in", said)
    if not asked or not int(asked[1]) or "Socket errors" in said or "Non-2xx" in said:
        raise RuntimeError(f"requests failed: {said}")
    return float(asked[1])


def _h2load(path: Path, protocol: ports.Protocol, seconds: int) -> float:
    command = [
        "h2load", "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", "-D", str(seconds), path.url(protocol),
    ]  # fmt: skip
    return parse_h2load(path.client.run(command, seconds=seconds + _SPARE_SECONDS))


def parse_h2load(said: str) -> float:
    """How many requests h2load made. RuntimeError when some failed or there were none."""
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    ok = re.search(r"status codes: (\d+) 2xx", said)
    if not counts or not ok or not int(ok[1]) or any(int(counts[n]) for n in (2, 3, 4)):
        raise RuntimeError(f"requests failed: {said}")
    return float(ok[1])


def _own(
    path: Path, protocol: ports.Protocol, seconds: int, *, rate: float
) -> tuple[float, dict[str, float]]:
    scheme = "h2c" if protocol is ports.Protocol.HTTP2 else "http"
    command = [
        ports.PYTHON, "-m", "retic.testing.load", path.url(protocol, scheme=scheme),
        "--rate", f"{rate:g}", "--seconds", f"{seconds:g}", "--warm-up", f"{_WARM_UP:g}",
        "--connections", str(H2_CONNECTIONS if scheme == "h2c" else OPEN_CONNECTIONS),
        "--streams", str(H2_STREAMS),
    ]  # fmt: skip
    report = json.loads(path.client.run(command, seconds=seconds + _SPARE_SECONDS))
    return float(report["answered"]), report["percentiles_ms"]
