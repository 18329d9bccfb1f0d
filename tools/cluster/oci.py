"""Images as OCI archives (image-spec v1.1: a tar with oci-layout, index.json and blobs), from tars of files.

The same input gives the same bytes. Refuses to pull, to push and to run anything.
"""

import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x"}
_PREFIX = "application/vnd.oci.image"
_EPOCH = "1970-01-01T00:00:00Z"


class Blob(msgspec.Struct, frozen=True):
    """Content of an archive, by its digest (hex of sha256)."""

    digest: str
    size: int
    source: pathlib.Path | bytes


def full(reference: str) -> str:
    """A reference with its registry and tag, as containerd names it: `web:1` is docker.io/library/web:1."""
    first, slash, rest = reference.partition("/")
    if not slash or not (re.search(r"[.:]", first) or first == "localhost"):
        reference = f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"
        rest = reference.partition("/")[2]
    return reference if "@" in rest or ":" in rest.rpartition("/")[2] else f"{reference}:latest"


def write(
    archive: pathlib.Path, reference: str, layers: Sequence[pathlib.Path], *,
    entrypoint: Sequence[str] = (), cmd: Sequence[str] = (), env: Mapping[str, str] | None = None,
    user: str = "", workdir: str = "/",
) -> None:  # fmt: skip
    """Write the image `reference` of uncompressed tars, the lowest first, to `archive`, atomically."""
    parts = [_file(path) for path in layers]
    config = _json(
        {
            "created": _EPOCH,
            "architecture": architecture(),
            "os": "linux",
            "config": _config(entrypoint, cmd, env or {}, user, workdir),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{part.digest}" for part in parts]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_PREFIX}.manifest.v1+json",
            "config": _descriptor(config, f"{_PREFIX}.config.v1+json"),
            "layers": [_descriptor(part, f"{_PREFIX}.layer.v1.tar") for part in parts],
        }
    )
    name = full(reference)
    entry = {
        **_descriptor(manifest, f"{_PREFIX}.manifest.v1+json"),
        "platform": {"architecture": architecture(), "os": "linux"},
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]},
    }
    index = _json({"schemaVersion": 2, "mediaType": f"{_PREFIX}.index.v1+json", "manifests": [entry]})
    layout = _json({"imageLayoutVersion": "1.0.0"})
    files = {"oci-layout": layout, "index.json": index}
    files |= {f"blobs/sha256/{blob.digest}": blob for blob in (manifest, config, *parts)}
    _store(archive, files)


def pack(tar: pathlib.Path, tree: Mapping[str, pathlib.Path]) -> None:
    """Write a layer: files and folders by their absolute path in the image; owned by root, without times.

    Modes become 0755 or 0644, by the owner's right to execute. Compiled Python is left out.
    """
    members: dict[str, pathlib.Path | None] = {}
    for target, source in tree.items():
        inside = target.strip("/")
        found = [source, *source.rglob("*")] if source.is_dir() else [source]
        for path in found:
            if "__pycache__" not in path.parts:
                members["/".join(part for part in (inside, path.relative_to(source).as_posix()) if part != ".")] = path
        for parent in pathlib.PurePosixPath(inside).parents:
            members.setdefault(parent.as_posix(), None)
    members.pop(".", None)
    with _replacing(tar) as temporary, tarfile.open(fileobj=temporary, mode="w", format=tarfile.PAX_FORMAT) as out:
        for name in sorted(members):
            _add(out, name, members[name])


def architecture() -> str:
    """This machine's, in Go's spelling."""
    return _ARCHITECTURES[os.uname().machine]


def _add(out: tarfile.TarFile, name: str, source: pathlib.Path | None) -> None:
    info = tarfile.TarInfo(name)
    if source is not None and source.is_symlink():
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(source.readlink()), 0o777
        out.addfile(info)
    elif source is None or source.is_dir():
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        out.addfile(info)
    else:
        status = source.stat()
        info.mode, info.size = (0o755 if status.st_mode & 0o100 else 0o644), status.st_size
        with source.open("rb") as file:
            out.addfile(info, file)


def _config(
    entrypoint: Sequence[str], cmd: Sequence[str], env: Mapping[str, str], user: str, workdir: str
) -> dict[str, object]:
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    config: dict[str, object] = {
        "Env": [f"{name}={value}" for name, value in sorted({**path, **env}.items())],
        "WorkingDir": workdir,
    }
    if entrypoint:
        config["Entrypoint"] = list(entrypoint)
    if cmd:
        config["Cmd"] = list(cmd)
    if user:
        config["User"] = user
    return config


def _json(document: object) -> Blob:
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return Blob(hashlib.sha256(data).hexdigest(), len(data), data)


def _file(path: pathlib.Path) -> Blob:
    with path.open("rb") as file:
        return Blob(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size, path)


def _descriptor(blob: Blob, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{blob.digest}", "size": blob.size}


def _store(archive: pathlib.Path, files: Mapping[str, Blob]) -> None:
    with _replacing(archive) as temporary, tarfile.open(fileobj=temporary, mode="w", format=tarfile.PAX_FORMAT) as out:
        for name in sorted(files):
            blob = files[name]
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o644, blob.size
            if isinstance(blob.source, bytes):
                out.addfile(info, io.BytesIO(blob.source))
            else:
                with blob.source.open("rb") as file:
                    out.addfile(info, file)


class _replacing:  # noqa: N801
    """A temporary file that takes the place of `path` when the block ends well."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def __enter__(self) -> IO[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.NamedTemporaryFile(dir=self._path.parent, prefix=".", delete=False)
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.close()
        if kind is None:
            os.chmod(self._file.name, 0o644)
            shutil.move(self._file.name, self._path)
        else:
            os.unlink(self._file.name)
