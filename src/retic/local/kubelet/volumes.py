"""A pod's volumes as folders, and where its containers see them.

ConfigMaps, Secrets and the pod's own fields are written as kubelet writes them: files stand in a folder of
their own, `..data` points at it, and a change swaps that link in one step, so that a reader never sees half
of it. A claim is a folder that outlives the pod and ends with the mesh. What local mode cannot make is an
empty folder (with a finding, see `retic.local.workloads.checks`).
"""

import contextlib
import itertools
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from retic import findings
from retic.local.kubelet import environment, tokens, variables
from retic.objects import pods as structs
from retic.objects import volume

_turn = itertools.count(1)
Token = Callable[[structs.Pod, volume.TokenProjection], bytes]


class Written(msgspec.Struct, frozen=True):
    """One file of a volume."""

    path: str
    data: bytes
    mode: int


class Mount(msgspec.Struct, frozen=True):
    """A folder or file of this machine and where the pod sees it."""

    source: str
    path: str
    read_only: bool


def prepare(
    folder: pathlib.Path, claims: pathlib.Path, pod: structs.Pod, look: environment.Look, token: Token
) -> None:
    """Make or update every volume of the pod below `folder`. Raises Missing for what is not there."""
    for item in pod.spec.volumes:
        place = _place(folder, claims, pod, item)
        if item.host_path is not None:
            if str(item.host_path.get("type", "")).endswith("OrCreate") and not place.exists():
                place.mkdir(parents=True)
            if not place.exists():
                raise environment.Missing(f"hostPath {place} does not exist on this machine")
            continue
        place.mkdir(parents=True, exist_ok=True)
        files = content(pod, item, look, token)
        if files is not None:
            write(place, files)


def _place(folder: pathlib.Path, claims: pathlib.Path, pod: structs.Pod, item: volume.Volume) -> pathlib.Path:
    if item.host_path is not None:
        return pathlib.Path(str(item.host_path.get("path", "/")))
    if item.persistent_volume_claim is not None:
        name = item.persistent_volume_claim.get("claimName", item.name)
        return claims / f"{pod.metadata.namespace}_{name}"
    return folder / item.name


def content(
    pod: structs.Pod, item: volume.Volume, look: environment.Look, token: Token
) -> list[Written] | None:
    """The files of a volume that is made of objects; None for one whose files are its containers' own."""
    if item.config_map is not None:
        return list(_config_map(pod, item.config_map, look, 0o644))
    if item.secret is not None:
        source = item.secret
        return list(
            _keys(
                pod,
                "Secret",
                source.secret_name or "",
                source.items,
                source.default_mode or 0o644,
                look,
                optional=bool(source.optional),
            )
        )
    if item.downward_api is not None:
        return list(_downward(pod, item.downward_api, 0o644))
    if item.projected is not None:
        mode = item.projected.default_mode or 0o644
        found = (_projected(pod, part, look, mode, token) for part in item.projected.sources)
        return list(itertools.chain.from_iterable(found))
    return None


def _config_map(
    pod: structs.Pod, source: volume.ConfigMapSource, look: environment.Look, mode: int
) -> Iterator[Written]:
    return _keys(
        pod,
        "ConfigMap",
        source.name,
        source.items,
        source.default_mode or mode,
        look,
        optional=bool(source.optional),
    )


def _projected(
    pod: structs.Pod, part: volume.Projection, look: environment.Look, mode: int, token: Token
) -> Iterator[Written]:
    if part.config_map is not None:
        yield from _config_map(pod, part.config_map, look, mode)
    if part.secret is not None:
        yield from _keys(
            pod, "Secret", part.secret.name, part.secret.items, mode, look, optional=bool(part.secret.optional)
        )
    if part.downward_api is not None:
        yield from _downward(pod, part.downward_api, mode)
    if part.service_account_token is not None:
        wanted = part.service_account_token
        yield Written(wanted.path, token(pod, wanted), tokens.mode(pod, mode))


def _keys(
    pod: structs.Pod,
    kind: str,
    name: str,
    items: tuple[volume.KeyToPath, ...],
    mode: int,
    look: environment.Look,
    *,
    optional: bool,
) -> Iterator[Written]:
    found = look(findings.Ref(kind, pod.metadata.namespace, name))
    if found is None:
        if not optional:
            raise environment.Missing(f'{kind.lower()} "{name}" not found')
        return
    data = _bytes(found)
    wanted = items or tuple(volume.KeyToPath(key=key, path=key) for key in sorted(data))
    for item in wanted:
        if item.key in data:
            yield Written(item.path, data[item.key], item.mode or mode)
        elif not optional:
            raise environment.Missing(f"{kind} {name} has no key {item.key}")


def _bytes(found: Any) -> Mapping[str, bytes]:
    data = {key: value if isinstance(value, bytes) else value.encode() for key, value in found.data.items()}
    return {**data, **getattr(found, "binary_data", {})}


def _downward(pod: structs.Pod, source: volume.DownwardSource, mode: int) -> Iterator[Written]:
    for item in source.items:
        if item.field_ref is not None:
            value = environment.field(pod, item.field_ref.field_path)
        elif item.resource_field_ref is not None:
            value = environment.resource(pod, pod.spec.containers[0], item.resource_field_ref)
        else:
            continue
        yield Written(item.path, value.encode(), item.mode or source.default_mode or mode)


def write(place: pathlib.Path, files: list[Written]) -> bool:
    """Make `place` hold exactly these files, in one step for readers; False: it did already.

    Raises Missing for a path that would leave the volume.
    """
    for file in files:
        parts = pathlib.PurePosixPath(file.path).parts
        if not parts or ".." in parts or file.path.startswith(("/", "..")):
            raise environment.Missing(f"the path {file.path} would leave the volume")
    old = place / "..data"
    if old.is_symlink() and _same(old, files):
        return False
    fresh = place / f"..{os.getpid()}_{next(_turn)}"
    fresh.mkdir(mode=0o755)
    for file in files:
        target = fresh / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Never more open than it shall be, not for a moment either.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as opened:
            opened.write(file.data)
        target.chmod(file.mode)
    previous = old.readlink() if old.is_symlink() else None
    link = place / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.replace(old)
    _link(place, {pathlib.PurePosixPath(file.path).parts[0] for file in files})
    if previous is not None:
        shutil.rmtree(place / previous, ignore_errors=True)
    return True


def _same(data: pathlib.Path, files: list[Written]) -> bool:
    there = {str(path.relative_to(data)): path for path in data.rglob("*") if path.is_file()}
    if there.keys() != {str(pathlib.PurePosixPath(file.path)) for file in files}:
        return False
    return all(
        (path := there[str(pathlib.PurePosixPath(file.path))]).read_bytes() == file.data
        and path.stat().st_mode & 0o777 == file.mode
        for file in files
    )


def _link(place: pathlib.Path, names: set[str]) -> None:
    for entry in list(place.iterdir()):
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        with contextlib.suppress(FileExistsError):
            (place / name).symlink_to(f"..data/{name}")


def mounts(
    folder: pathlib.Path, claims: pathlib.Path, pod: structs.Pod, known: Mapping[str, Mapping[str, str]]
) -> list[Mount]:
    """What the pod sees where. `known`: each container's variables, for `subPathExpr`.

    All containers of a pod share one view of files here: of two mounts at one path the first stays.
    """
    places = {item.name: _place(folder, claims, pod, item) for item in pod.spec.volumes}
    found: dict[str, Mount] = {}
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for item in container.volume_mounts:
            if item.name not in places:
                raise environment.Missing(f"the pod has no volume named {item.name}")
            part = item.sub_path or variables.expand(item.sub_path_expr or "", known.get(container.name, {}))
            source = _part(places[item.name], part)
            path = item.mount_path if item.mount_path.startswith("/") else f"/{item.mount_path}"
            found.setdefault(path.rstrip("/") or "/", Mount(str(source), path, bool(item.read_only)))
    return list(found.values())


def _part(place: pathlib.Path, part: str) -> pathlib.Path:
    if not part:
        return place
    if ".." in pathlib.PurePosixPath(part).parts or part.startswith("/"):
        raise environment.Missing(f"subPath {part} would leave the volume")
    source = place / part
    if not source.exists():
        source.mkdir(parents=True)
    return source.resolve()
