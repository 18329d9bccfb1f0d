"""The command: run the measurements, print their tables, and with `--write` put them into the document."""

import argparse
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable

import msgspec
from tools.bench import (
    costs,
    document,
    engine,
    features,
    machine,
    memory,
    options,
    paths,
    places,
    policies,
    scan,
    table,
    times,
)

Measurement = Callable[[pathlib.Path, options.Options], list[table.Table]]

MEASUREMENTS: dict[str, Measurement] = {
    "engine": engine.run,
    "times": times.run,
    "memory": memory.run,
    "scan": scan.run,
    "paths": paths.run,
    "policies": policies.run,
    "costs": costs.run,
}
ON_REQUEST: dict[str, Measurement] = {"features": features.run}
DOCUMENT = places.ROOT / "docs" / "benchmarks.md"


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line says. Ctrl-C and SIGTERM end it with nothing left behind."""
    given = _arguments(arguments)
    for number in _ENDS:
        signal.signal(number, _interrupt)
    chosen = options.QUICK if given.quick else options.FULL
    if given.seconds:
        chosen = msgspec.structs.replace(chosen, seconds=given.seconds)
    begin = time.monotonic()
    tables: list[table.Table] = []
    failed: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder:
            for name in given.only or MEASUREMENTS:
                print(f"measuring: {name}", file=sys.stderr, flush=True)
                try:
                    tables += (MEASUREMENTS | ON_REQUEST)[name](pathlib.Path(folder), chosen)
                except (RuntimeError, AssertionError, TimeoutError) as error:
                    # One of them must not cost the others: some have run for a quarter of an hour.
                    print(f"not measured: {name}: {error}", file=sys.stderr, flush=True)
                    failed.append(name)
    except KeyboardInterrupt:
        print("interrupted: nothing is left behind, nothing is written", file=sys.stderr)
        return 130
    command = " ".join(["make bench", *_given(given)])
    result = document.text(command, machine.here(), tables, (time.monotonic() - begin) / 60)
    print(result)
    if failed:
        print(f"not measured, so nothing is written: {', '.join(failed)}", file=sys.stderr)
        return 1
    if given.write:
        document.replace(DOCUMENT, result)
    return 0


_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, _: object) -> None:
    for one in _ENDS:  # once is enough: a second must not disturb the clean-up
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def _given(given: argparse.Namespace) -> list[str]:
    words = [*(["--quick"] if given.quick else []), *(f"--only {name}" for name in given.only)]
    words += [f"--seconds {given.seconds}"] if given.seconds else []
    return [f'BENCH_ARGS="{" ".join(words)}"'] if words else []


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=sys.modules["tools.bench"].__doc__)
    parser.add_argument("--quick", action="store_true", help="see that it works; proves nothing")
    parser.add_argument("--seconds", type=int, default=0, choices=range(1, 61), metavar="S", help="of each load")
    parser.add_argument("--only", action="append", default=[], choices=[*MEASUREMENTS, *ON_REQUEST])
    parser.add_argument("--write", action="store_true", help=f"put the result into {DOCUMENT.name}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
