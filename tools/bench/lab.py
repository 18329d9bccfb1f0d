"""Network namespaces joined as a mesh joins its pods, without a mesh: two nodes, with pods on them.

`python -m tools.bench.lab FOLDER NAME@NODE...` is the process that owns them: it prints a line of JSON, name
to address, and holds everything until its standard input ends; then all of it is gone with it.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import msgspec
from tools.bench import places

from retic.local.sandbox import addresses, kernel, links

_NODES = ("node-1", "node-2")


class Pod(msgspec.Struct, frozen=True):
    """A namespace with an address in it, and nothing running."""

    place: places.Place
    address: str


@contextlib.contextmanager
def pods(folder: pathlib.Path, wanted: Sequence[str]) -> Iterator[dict[str, Pod]]:
    """The pods `NAME@NODE` (node 1 or 2), by name, up to the end of the block."""
    folder.mkdir(exist_ok=True)
    owner = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder), *wanted],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=places.ROOT, start_new_session=True,
    )  # fmt: skip
    try:
        assert owner.stdout is not None
        if not (line := owner.stdout.readline()):
            raise RuntimeError("the namespaces could not be made")
        inside = f"/proc/{owner.pid}/root{folder}/netns"
        yield {
            name: Pod(places.Place(f"{inside}/{name}", owner.pid), address)
            for name, address in json.loads(line).items()
        }
    finally:
        assert owner.stdin is not None
        owner.stdin.close()
        places.end(owner)


def _own(folder: str, wanted: Sequence[str]) -> None:
    kernel.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal: the bench decides when this ends
    user, group = os.geteuid(), os.getegid()
    spaces = kernel.New.NET | kernel.New.NS
    kernel.unshare(spaces if user == 0 else spaces | kernel.New.USER)
    if user != 0:
        pathlib.Path("/proc/self/setgroups").write_text("deny")
        pathlib.Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        pathlib.Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    kernel.mount(None, "/", None, kernel.Mount.REC | kernel.Mount.PRIVATE)
    topology = links.Topology(folder, _NODES)
    topology.start()
    answer = {}
    for number, one in enumerate(wanted, start=2):
        name, _, node = one.partition("@")
        answer[name] = str(addresses.node_network(int(node))[number])
        topology.add_pod(name, f"node-{node}", answer[name])
    print(json.dumps(answer), flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    _own(sys.argv[1], sys.argv[2:])
