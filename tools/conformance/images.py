"""The images that the suite's manifests name, under the exact references that they use."""

import io
import pathlib
import re
import tarfile

from tools.cluster import oci, places
from tools.conformance import certificate

_REFERENCE = re.compile(r"image: (\S+/echo-(basic|advanced):\S+)")
_NOBODY = "65532"


def references(suite: pathlib.Path) -> dict[str, str]:
    """Every image of an echo server in the suite's manifests, and which of the two it is."""
    found: dict[str, str] = {}
    for file in sorted(suite.rglob("*.yaml")):
        found.update(_REFERENCE.findall(file.read_text()))
    return found


def archives(suite: pathlib.Path, into: pathlib.Path) -> list[pathlib.Path]:
    """Write one archive a reference into the folder; their paths."""
    layers = {"basic": _basic(into / "echo-basic.tar"), "advanced": _advanced(into / "echo-advanced.tar")}
    entries = {"basic": "/echo-basic", "advanced": "/usr/local/bin/server"}
    made = []
    for reference, kind in sorted(references(suite).items()):
        archive = into / (re.sub(r"[^\w.-]", "_", reference) + ".oci.tar")
        oci.write(
            archive, reference, [layers[kind]], entrypoint=(entries[kind],), user=_NOBODY,
            env={"PATH": "/usr/local/bin"},
        )  # fmt: skip
        made.append(archive)
    return made


def _basic(file: pathlib.Path) -> pathlib.Path:
    return _layer(file, {"echo-basic": (places.binaries() / "echo-basic").read_bytes()}, {})


def _advanced(file: pathlib.Path) -> pathlib.Path:
    chain, key = certificate.pair()
    programs = {
        f"usr/local/bin/{name}": (places.binaries() / f"echo-{name}").read_bytes() for name in ("client", "server")
    }
    return _layer(file, programs, {"cert.crt": chain, "cert.key": key})


def _layer(file: pathlib.Path, programs: dict[str, bytes], data: dict[str, bytes]) -> pathlib.Path:
    accounts = {
        "etc/passwd": f"root:x:0:0::/:\nnobody:x:{_NOBODY}:{_NOBODY}::/:\n".encode(),
        "etc/group": f"root:x:0:\nnobody:x:{_NOBODY}:\n".encode(),
    }
    with tarfile.open(file, "w") as tar:
        for name in ("etc", "tmp", "usr", "usr/local", "usr/local/bin"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
        for name, content in sorted({**programs, **data, **accounts}.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name in programs else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return file
