"""The images that the cluster needs, made from what is here, and bringing any image to the running nodes."""

import concurrent.futures
import hashlib
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Sequence

from tools.cluster import base, dns, node, oci, places, steps

SHOP = "retic-shop:1"
_SHOP_NEEDS = ("grpcio", "typing-extensions")


def load(archive: pathlib.Path) -> None:
    """Bring an OCI archive to every node of the running cluster, under the reference that it was written with.

    Raises FailedError where KUBECONFIG names another cluster: only its owner knows how its nodes get images.
    """
    given = os.environ.get("KUBECONFIG")
    if given and pathlib.Path(given) != places.kubeconfig():
        raise steps.FailedError(f"KUBECONFIG names another cluster: bring {archive} to its nodes, or to its registry")
    load_all([archive], node.every())


def load_all(archives: Sequence[pathlib.Path], nodes: Sequence[node.Node]) -> None:
    """Bring them to the nodes, all nodes at once."""

    def one(target: node.Node) -> None:
        for archive in archives:
            node.load(target, archive)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(one, nodes))


def own(run: steps.Steps) -> list[pathlib.Path]:
    """The archives of pause, CoreDNS and the demo's shop; written anew only where something of them changed."""
    return [_binary("pause", node.PAUSE, run), _binary("coredns", dns.IMAGE, run), _shop(run)]


def _binary(name: str, reference: str, run: steps.Steps) -> pathlib.Path:
    program = places.binaries() / name
    archive = _place(name, _digest(program), reference)
    if not archive.exists():
        with run.part(f"image {reference}"), tempfile.TemporaryDirectory(prefix="retic-image-") as folder:
            layer = pathlib.Path(folder) / "layer.tar"
            oci.pack(layer, {f"/{name}": program})
            oci.write(archive, reference, [layer], entrypoint=[f"/{name}"])
            _forget_others(archive, name)
    return archive


def _shop(run: steps.Steps) -> pathlib.Path:
    """What demo/Dockerfile describes."""
    ground, shop = base.layer(run), places.ROOT / "demo" / "shop"
    needed = pins(places.ROOT / "requirements.lock", _SHOP_NEEDS)
    sources = sorted(path for path in shop.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    archive = _place("shop", _digest(*sources), ground.name, needed)
    if not archive.exists():
        with run.part(f"image {SHOP}"), tempfile.TemporaryDirectory(prefix="retic-image-") as folder:
            scratch = pathlib.Path(folder)
            packages = pip(needed, base.python(ground), scratch, run)
            needs, code = scratch / "needs.tar", scratch / "code.tar"
            oci.pack(needs, {f"/usr/local/lib/python{base.python(ground)}/dist-packages": packages})
            oci.pack(code, {"/app/shop": shop})
            oci.write(archive, SHOP, [ground, needs, code], cmd=["python3"], user="65532", workdir="/app")
            _forget_others(archive, "shop")
    return archive


def pip(pins: str, python: str, scratch: pathlib.Path, run: steps.Steps) -> pathlib.Path:
    """The packages that `pins` (a requirements file with hashes) names, for that Python, in a folder of `scratch`."""
    wanted, packages = scratch / "requirements.txt", scratch / "packages"
    wanted.write_text(pins)
    run.command(
        sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile", "--no-deps",
        "--require-hashes", "--only-binary=:all:", f"--python-version={python}", "--implementation=cp",
        f"--target={packages}", "-r", wanted,
    )  # fmt: skip
    return packages


def pins(lock: pathlib.Path, names: Sequence[str]) -> str:
    """The lock's entries for these packages, with their hashes."""
    entries = re.split(r"\n(?=\S)", lock.read_text())
    found = [each for each in entries if re.match(rf"(?:{'|'.join(names)})==", each)]
    if len(found) != len(names):
        raise steps.FailedError(f"{lock.name} does not have each of {', '.join(names)}")
    return "\n".join(found) + "\n"


def _place(name: str, *inputs: str) -> pathlib.Path:
    key = hashlib.sha256("\0".join((*inputs, _digest(pathlib.Path(oci.__file__)))).encode()).hexdigest()[:16]
    return places.cache() / "images" / f"{name}-{key}.tar"


def _digest(*paths: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"{path.name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _forget_others(archive: pathlib.Path, name: str) -> None:
    for path in archive.parent.glob(f"{name}-{'?' * 16}.tar"):
        if path != archive:
            path.unlink()
