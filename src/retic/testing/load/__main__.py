"""The load generator's command: JSON on standard output, exit code 1 when a request failed.

SIGTERM ends the load of a single process early: what is under way is waited for, and the report is written.
"""

import argparse
import concurrent.futures
import multiprocessing
import sys

import msgspec

from retic.testing.load import record, run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m retic.testing.load", description=run.Plan.__doc__)
    parser.add_argument("url", help="http://, h2c:// or tcp://host:port")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second in all; 0: closed loop")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--connections", type=int, default=8, help="of each process")
    parser.add_argument("--streams", type=int, default=8, help="of each HTTP/2 connection")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--size", type=int, default=64, help="bytes of a TCP round trip")
    parser.add_argument("--new-connections", action="store_true", help="one for every request")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE")
    parser.add_argument("--cpu", action="append", type=int, default=[], metavar="PID")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def plans(given: argparse.Namespace) -> list[run.Plan]:
    """Each process's share."""
    pairs = (header.partition(":") for header in given.header)
    whole = run.Plan(
        url=given.url,
        rate=given.rate / given.processes,
        seconds=given.seconds,
        warm_up=given.warm_up,
        connections=given.connections,
        streams=given.streams,
        timeout=given.timeout,
        keep_alive=not given.new_connections,
        size=given.size,
        headers=tuple((name.strip(), value.strip()) for name, _, value in pairs),
    )
    first = msgspec.structs.replace(whole, seed=given.seed, cpu=tuple(given.cpu))
    return [first, *(msgspec.structs.replace(whole, seed=given.seed + n) for n in range(1, given.processes))]


def measure(shares: list[run.Plan]) -> record.Record:
    """Run the shares side by side, each in a process when there are several."""
    if len(shares) == 1:
        return run.run_alone(shares[0])
    spawn = multiprocessing.get_context("spawn")
    total = record.Record()
    with concurrent.futures.ProcessPoolExecutor(len(shares), mp_context=spawn) as pool:
        total.merge(pool.map(run.run_alone, shares))
    return total


def report(shares: list[run.Plan], total: record.Record) -> record.Report:
    """The numbers of all shares together."""
    plan = shares[0]
    answered, failed = len(total.latencies), total.failures.total()
    asked = answered + failed
    seconds = max(0.001, round(total.seconds or plan.seconds, 3))  # told to end at once, it measured nothing
    return record.Report(
        mode="open" if plan.rate else "closed",
        protocol=plan.protocol,
        target=plan.url,
        connections=plan.connections * len(shares),
        wanted_rate=plan.rate * len(shares),
        seconds=seconds,
        answered=answered,
        failed=failed,
        rate=round(answered / seconds, 1),
        failures=dict(total.failures),
        mean_ms=round(sum(total.latencies) / answered * 1000, 4) if answered else 0.0,
        max_ms=round(max(total.latencies, default=0.0) * 1000, 4),
        queued_ms=round(total.queued * 1000, 4),
        percentiles_ms=record.percentiles(total.latencies),
        first_failures=total.dated,
        cpu_us_per_request={str(pid): round(s / asked * 1e6, 2) for pid, s in total.cpu.items() if asked},
    )


def main() -> None:
    """Run what the command line says."""
    given = _arguments()
    shares = plans(given)
    result = report(shares, measure(shares))
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(result), indent=2).decode() + "\n")
    sys.exit(1 if result.failed else 0)


if __name__ == "__main__":
    main()
