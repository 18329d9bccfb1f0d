"""Retic's image as an OCI archive, without Docker and without a registry: the steps of the Dockerfile, by layers.

Each layer is cached by a hash of what it is made from; the archive is written anew when one has changed.
"""

import hashlib
import json
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable

from tools.cluster import base, images, oci, places, steps

ROOT = places.ROOT
FOLDER = "opt/retic"
HOME = "/usr/bin"  # of the base layer's python3
USER = "65532:65532"
# Code is compiled already; gRPC's fork handlers disturb children that are no servers.
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "GRPC_ENABLE_FORK_SUPPORT": "0"}
_KEPT = 2 * 86400.0  # seconds that a layer which is not used any more stays
_MAKE = ROOT / "tools" / "image" / "make"
_DEPS = ("requirements.image.lock",)
_RETIC = ("pyproject.toml", "README.md", "LICENSE", "src")
_CNI = ("cni",)
_TESTING = ("h2", "hpack", "hyperframe")


def reference() -> str:
    """The image's name, as the installation's default value has it."""
    from retic.install import values

    return values.IMAGE


def build(run: steps.Steps | None = None, *, named: str = "", testing: bool = False) -> pathlib.Path:
    """The archive of the image of these sources, under its own reference unless it is `named` otherwise.

    With `testing` all of `retic.testing` runs in it. Raises FailedError naming the part that cannot be had.
    """
    run, name = run or steps.Steps(), named or reference()
    bottom = base.layer(run)
    version = base.python(bottom)
    layers = [
        bottom,
        _layer(run, "image: Python packages", "deps", _DEPS, version, HOME),
        _layer(run, "image: CNI plugin", "cni", _CNI, ""),
        _layer(run, "image: Retic", "retic", _RETIC, version),
        *([_testing(run, version)] if testing else []),
    ]
    key = hashlib.sha256(repr((name, _ENVIRONMENT, [layer.name for layer in layers])).encode()).hexdigest()[:16]
    archive = places.cache() / "images" / f"retic-{key}.tar"
    if not archive.exists():
        with run.part("image: archive"):
            path = f"/{FOLDER}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            env = {"PATH": path, **_ENVIRONMENT}
            oci.write(archive, name, layers, entrypoint=["retic"], env=env, user=USER)
            _forget("retic-????????????????.tar", archive)
    return archive


def _layer(run: steps.Steps, name: str, part: str, sources: Iterable[str], version: str, *more: str) -> pathlib.Path:
    tar = places.cache() / "images" / f"retic-{part}-{_key(sources, version, *more)}.tar"
    if tar.exists():
        return tar
    with run.part(name), tempfile.TemporaryDirectory(prefix="retic-image-") as folder:
        root = pathlib.Path(folder) / FOLDER
        into = root / "cni" / "retic-cni" if part == "cni" else root
        env = {"PYTHON": sys.executable, "VERSION": version, "ISOLATION": "--no-build-isolation"}
        for source in sources:
            if not (ROOT / source).exists():
                raise steps.FailedError(f"{name}: {source} is missing")
        run.command(_MAKE, part, into, *more, cwd=ROOT, env=env)
        _pack(tar, pathlib.Path(folder))
    _forget(f"retic-{part}-*.tar", tar)
    return tar


def _testing(run: steps.Steps, version: str) -> pathlib.Path:
    """A layer with what the servers and loads of `retic.testing` need beside what Retic needs."""
    wanted = images.pins(ROOT / "requirements.lock", _TESTING)
    tar = places.cache() / "images" / f"retic-testing-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}.tar"
    if not tar.exists():
        with run.part("image: testing"), tempfile.TemporaryDirectory(prefix="retic-image-") as folder:
            packages = images.pip(wanted, version, pathlib.Path(folder), run)
            oci.pack(tar, {f"/{FOLDER}/lib/python{version}/site-packages": packages})
    return tar


def _key(sources: Iterable[str], *more: str) -> str:
    digest = hashlib.sha256(repr((more, oci.architecture(), _MAKE.read_text())).encode())
    for source in sources:
        for path in sorted([ROOT / source, *(ROOT / source).rglob("*")]):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _pack(tar: pathlib.Path, root: pathlib.Path) -> None:
    """Everything below `root`, with the compiled code that `oci.pack` leaves out; owned by root, without times."""
    unfinished = tar.with_name(f".{os.getpid()}-{tar.name}")
    tar.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as out:
            for path in sorted(root.rglob("*")):
                out.add(path, path.relative_to(root).as_posix(), recursive=False, filter=_plain)
        unfinished.replace(tar)
    finally:
        unfinished.unlink(missing_ok=True)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    runs = info.isdir() or info.mode & 0o100
    info.mode = 0o777 if info.issym() else 0o755 if runs else 0o644
    return info


def _forget(pattern: str, kept: pathlib.Path) -> None:
    """Remove what earlier builds have left, a layer of packages has 250 MB; not what another clone has just made."""
    for old in kept.parent.glob(pattern):
        if old != kept and time.time() - old.stat().st_mtime > _KEPT:
            old.unlink(missing_ok=True)


def unpack(archive: pathlib.Path, into: pathlib.Path) -> None:
    """The image's files in a folder, for tests that run it in a chroot."""
    with tarfile.open(archive) as out:

        def blob(digest: str) -> bytes:
            found = out.extractfile(f"blobs/sha256/{digest.removeprefix('sha256:')}")
            assert found is not None
            return found.read()

        index = out.extractfile("index.json")
        assert index is not None
        manifest = json.loads(blob(json.loads(index.read())["manifests"][0]["digest"]))
        for layer in manifest["layers"]:
            member = out.extractfile(f"blobs/sha256/{layer['digest'].removeprefix('sha256:')}")
            assert member is not None
            with tarfile.open(fileobj=member) as files:
                files.extractall(into, filter="tar")
    shutil.rmtree(into / "dev", ignore_errors=True)
