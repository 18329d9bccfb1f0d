"""The terminal in the README: runs real commands against a mesh of the demo and draws what they printed.

    make record        writes docs/terminal.svg and docs/terminal.txt

Nothing is made up: each command is run as it is shown, in a terminal of `COLUMNS` columns. Wants no mesh
named `retic` to run, and port 8080 free for the picture's sake.
"""

import errno
import fcntl
import io
import os
import pathlib
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios

from rich import console as consoles
from rich import text as texts

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(sys.executable).parent
COLUMNS = 118
MOST_BYTES = 60_000

# A copy of the shop's routes with what people get wrong: a misspelt field, a type, a Service, a port.
MISTAKES = (
    ("matches:\n        - headers:", "matchs:\n        - headers:"),
    ("weight: 90", "weight: most"),
    ("{name: cart, port: 9000}\n    - matches", "{name: card, port: 9000}\n    - matches"),
)

SESSION = (
    "retic up -f demo --nodes 2 --detach",
    "retic ps",
    "retic exec -n shop deploy/web -- curl -s http://catalog/items",
    "retic exec -n shop deploy/web -- curl -s -H 'x-preview: yes' http://catalog/items",
    "retic logs -n shop deploy/orders --tail 2",
    "retic why routes/shop",
    "retic analyze -f mistakes",
    "retic down",
)


def prepare(folder: pathlib.Path) -> None:
    """The demo, and a folder of its manifests with mistakes."""
    (folder / "demo").symlink_to(ROOT / "demo")
    shutil.copytree(ROOT / "demo", folder / "mistakes", ignore=shutil.ignore_patterns("shop", "*.md", "Dockerfile"))
    routes = folder / "mistakes" / "routes.yaml"
    text = routes.read_text()
    for right, wrong in MISTAKES:
        if right not in text:
            raise SystemExit(f"demo/routes.yaml has changed: there is no {right!r} to spoil")
        text = text.replace(right, wrong, 1)
    routes.write_text(text)


def run(command: str, folder: pathlib.Path) -> tuple[int, str]:
    """Exit code and output of a command in a terminal of its own."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "TERM": "xterm-256color",
    }
    child = subprocess.Popen(
        ["/bin/sh", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=there, stderr=there
    )
    os.close(there)
    output = b""
    while True:
        try:
            data = os.read(here, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # what a terminal without writers says
                raise
            break
        if not data:
            break
        output += data
    os.close(here)
    return child.wait(), output.decode().replace("\r\n", "\n")


def record(folder: pathlib.Path) -> consoles.Console:
    """Run the session. SystemExit when a command fails that should not."""
    console = consoles.Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    for command in SESSION:
        print(f"$ {command}", flush=True)
        console.print(texts.Text.assemble(("$ ", "bold green"), (command, "bold")))
        code, output = run(command, folder)
        console.print(texts.Text.from_ansi(output.strip("\n")))
        console.print()
        if code != (1 if "analyze" in command else 0):
            raise SystemExit(f"exit code {code}:\n{output}")
    return console


def main() -> int:
    """Record, and write both files."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder)
        try:
            console = record(folder)
        finally:
            subprocess.run([BIN / "retic", "down"], check=False, capture_output=True)
    text = console.export_text(clear=False)
    svg = console.export_svg(title="retic", unique_id="retic")
    # No fonts from elsewhere: whoever shows the page would refuse them.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    if len(svg) > MOST_BYTES:
        raise SystemExit(f"the picture has {len(svg)} bytes, more than {MOST_BYTES}")
    (ROOT / "docs" / "terminal.svg").write_text(svg)
    (ROOT / "docs" / "terminal.txt").write_text(re.sub(r" +$", "", text, flags=re.MULTILINE).strip() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
