"""`python -m tools.lossless`: measure rows that are missing or were shorter, one after the other; write the table."""

import argparse
import pathlib

import msgspec
from tools.lossless import events, row, table

_KEPT = pathlib.Path(".lossless")  # a file for each row, so that a run that was stopped goes on


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.lossless", description=__doc__)
    parser.add_argument("--events", default=",".join(events.EVENTS), help="a list with commas")
    parser.add_argument("--seconds", type=float, default=600, help="of each row (600)")
    parser.add_argument("--again", action="store_true", help="measure rows that are there already too")
    parser.add_argument("--write", action="store_true", help="put the table into docs/lost-requests.md")
    given = parser.parse_args()
    for name in given.events.split(","):
        if name not in events.EVENTS:
            parser.error(f"there is no event {name!r}: use {', '.join(events.EVENTS)}")
    return given


def main() -> int:
    """1 when a request was lost in any row."""
    given = _arguments()
    _KEPT.mkdir(exist_ok=True)
    for name in given.events.split(","):
        file = _KEPT / f"{name}.json"
        if given.again or not file.exists() or _read(file).seconds < given.seconds:
            event = events.EVENTS[name]
            with row.mesh_of(event.lifetime) as (mesh, servers):
                file.write_bytes(msgspec.json.encode(row.measured(mesh, servers, event, given.seconds)))
        print(table.line(_read(file)), flush=True)
    rows = [_read(file) for name in events.EVENTS if (file := _KEPT / f"{name}.json").exists()]
    if given.write:
        table.write(pathlib.Path("docs/lost-requests.md"), rows)
    return 1 if any(one.lost for one in rows) else 0


def _read(file: pathlib.Path) -> row.Row:
    return msgspec.json.decode(file.read_bytes(), type=row.Row)


if __name__ == "__main__":
    raise SystemExit(main())
