"""`make demo`: run the shop of demo/ in a mesh, say where it is reached and what to try, follow its traffic.

Everything is done through the `retic` command. Ctrl-C ends the mesh; nothing is left behind.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(sys.executable).parent
RETIC = str(BIN / "retic")
NAMESPACE = "shop"
PATIENCE = 120.0  # seconds to become ready in
# The shop's python3 must be the one that has grpcio.
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}

_ending = threading.Event()

TRY = """
  The shop is open: {address}

  Try, in another terminal, from {here}:

    {get} {address}/api
    {get_preview} {address}/api           # always catalog v2
    {retic} ps
    {retic} exec -n shop deploy/web -- python3 -c "import urllib.request as r; \\
        print(r.urlopen('http://catalog/items').read().decode())"
    {retic} logs -n shop deploy/orders
    {retic} proxy node-1 clusters
    edit demo/routes.yaml: another weight for catalog-v2 is live within a second, and the lines below show it

  Ctrl-C ends it and leaves nothing behind. What the traffic sees:
"""


def ps() -> dict[str, Any] | None:
    """What `retic ps` says, or None while there is nothing to ask."""
    asked = subprocess.run(
        [RETIC, "ps", "-o", "json"], capture_output=True, text=True, check=False, timeout=30, env=ENVIRONMENT
    )
    if asked.returncode != 0:
        return None
    answer: dict[str, Any] = json.loads(asked.stdout)
    return answer


def open_address() -> str | None:
    """The front's address once every pod is ready."""
    seen = ps()
    if not seen or not seen["pods"] or not all(pod["ready"] for pod in seen["pods"]):
        return None
    for gateway in seen["gateways"]:
        if gateway["namespace"] == NAMESPACE and gateway["listeners"]:
            return f"http://{gateway['listeners'][0]['address']}"
    return None


def advice(address: str) -> str:
    """What to try, with commands that this machine has."""
    curl = shutil.which("curl")
    get = "curl -s" if curl else "wget -qO-"
    preview = f"{get} {'-H' if curl else '--header'} 'x-preview: yes'"
    return TRY.format(
        address=address, here=ROOT, get=get, get_preview=preview, retic=os.path.relpath(RETIC, ROOT)
    )


def wait_until_open(mesh: "subprocess.Popen[bytes]") -> str | None:
    """The front's address; None when the mesh has ended or is not ready in time, which is said."""
    end = time.monotonic() + PATIENCE
    while mesh.poll() is None and not _ending.is_set():
        if address := open_address():
            return address
        if time.monotonic() > end:
            print(f"not every pod is ready after {PATIENCE:g} s; `retic ps` shows why", flush=True)
            return None
        _ending.wait(0.3)
    return None


def main() -> int:
    """Run until the mesh ends; returns its exit code."""
    # A session of its own: Ctrl-C reaches this process alone, which passes it on once.
    mesh = subprocess.Popen([RETIC, "up", "-f", "demo"], cwd=ROOT, env=ENVIRONMENT, start_new_session=True)
    follower: subprocess.Popen[bytes] | None = None

    def end(*_: object) -> None:
        _ending.set()
        if mesh.poll() is None:
            mesh.send_signal(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    if address := wait_until_open(mesh):
        print(advice(address), flush=True)
        follow = [RETIC, "logs", "-n", NAMESPACE, "-f", "--tail", "0", "deploy/traffic"]
        follower = subprocess.Popen(follow, env=ENVIRONMENT, start_new_session=True)
    code = mesh.wait()
    if follower is not None:
        follower.terminate()
        follower.wait()
    if code < 0:  # killed: what it could not tidy up itself
        subprocess.run([RETIC, "down"], check=False, env=ENVIRONMENT)
    return code


if __name__ == "__main__":
    sys.exit(main())
