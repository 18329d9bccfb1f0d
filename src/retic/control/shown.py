"""`python -m retic.control.shown SOCKET [SECTION]`: what an Envoy has, as JSON, for whoever may run it here.

`retic proxy` runs it in the containers of agents on a cluster. What is secret does not leave the container
(`admin`); all else is for those whom the cluster allows pods/exec.
"""

import argparse
import asyncio
import pathlib
import sys

import msgspec

from retic.control import admin, model


def main() -> int:
    """Print it. 1, with a line on the error stream, when Envoy does not answer."""
    parser = argparse.ArgumentParser(prog="retic.control.shown")
    parser.add_argument("socket", type=pathlib.Path)
    parser.add_argument("section", nargs="?", default="", choices=("", *model.SECTIONS))
    arguments = parser.parse_args()
    try:
        found = asyncio.run(admin.read(arguments.socket, arguments.section))
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
