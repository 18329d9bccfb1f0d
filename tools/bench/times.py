"""How long the first request takes with nothing loaded, and how long an edit takes to be seen."""

import pathlib
import subprocess
import time

from tools.bench import manifests, mesh, options, places, ports, spread, table

AIM_FIRST_MS = 25.0
AIM_EDIT_MS = 1000.0

_PORT = ports.Protocol.HTTP1.port
_SIZES = {"one": 11, "two": 22}
_ASK = [ports.PYTHON, "-S", "-m", "tools.bench.ask"]


def objects(samples: int, weights: dict[str, int]) -> list[manifests.Object]:
    """Callers in namespaces of their own, each with a Service of its own to call; two versions and a split."""
    http1 = ports.Protocol.HTTP1
    sleep = [manifests.container("sleep", manifests.SLEEP)]
    made = [manifests.server("near", "node-1"), manifests.pod("client", "node-1", sleep)]
    for number in range(samples):
        space = f"first-{number}"
        made += [manifests.namespace(space), manifests.pod("caller", "node-1", sleep, space)]
        made.append(manifests.service(space, "near", http1))
    for name, size in _SIZES.items():
        command = [ports.PYTHON, "-m", http1.module, "--port", str(_PORT), "--size", str(size)]
        made.append(manifests.pod(name, "node-1", [manifests.container("server", command)]))
        made.append(manifests.service(name, name, http1))
    return [*made, manifests.service("split", "one", http1), manifests.split("split", weights)]


def run(folder: pathlib.Path, given: options.Options) -> list[table.Table]:
    """Both, in one mesh; the first requests come first, before anything was asked."""
    with mesh.up(folder / "times", objects(given.samples, _only("one"))) as retic:
        first = spread.of(_first(retic, given.samples))
        edits = spread.of(_edits(retic, given.samples))
    rows, missed = [], []
    for what, sample, aim in (
        ("first HTTP request of a pod and a namespace, to a Service never called", first, AIM_FIRST_MS),
        ("from an edited weight in a file to its effect on a client", edits, AIM_EDIT_MS),
    ):
        verdict = spread.against(sample, aim)
        rows.append((what, sample.text(1), f"{sample.greatest:.1f}", f"{aim:g}", verdict))
        if verdict == spread.MISSED:
            missed.append(f"{what}: {sample.median:.1f} ms; the aim is at most {aim:g} ms")
    head = ("what", "ms: median (least; quartiles)", "greatest", "aim", "verdict")
    return [table.Table("Times", head, tuple(rows), tuple(missed))]


def _only(name: str) -> dict[str, int]:
    return {one: int(one == name) for one in _SIZES}


def _first(retic: mesh.Mesh, samples: int) -> list[float]:
    pods, addresses = retic.pods(), retic.services()
    taken = []
    for number in range(samples):
        command = [*_ASK, "first", addresses[f"first-{number}"], str(_PORT)]
        taken.append(float(pods[f"first-{number}", "caller"].run(command, seconds=60)))
    return taken


def _edits(retic: mesh.Mesh, samples: int) -> list[float]:
    client, address = retic.pods()["default", "client"], retic.services()["split"]
    return [
        _edit(retic, client, address, samples, ("two", "one")[number % 2]) for number in range(samples)
    ]


def _edit(retic: mesh.Mesh, client: places.Place, address: str, samples: int, to: str) -> float:
    command = [*_ASK, "until", address, str(_PORT), str(_SIZES[to])]
    text = objects(samples, _only(to))
    with places.Crew() as crew:
        watcher = client.popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        crew.add(watcher)
        assert watcher.stdout is not None
        watcher.stdout.readline()
        begin = time.monotonic()
        manifests.write(retic.file, text)
        said = watcher.stdout.readline()
    if not said:
        raise RuntimeError("an edited weight was not seen by a client")
    return (float(said) - begin) * 1000
