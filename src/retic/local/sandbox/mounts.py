"""What a pod sees differently from the machine: name resolution and volumes, in its own mount namespace.

Where a volume's path does not exist on the machine it is made to appear: a tmpfs takes the place of the
nearest existing folder, and what that folder holds is bind-mounted back into it (as snapd does). Nothing is
written to the machine's own folders. What somebody later creates in such a folder is not seen by the pod.

Refuses to isolate: the machine's files stay visible and /tmp is the machine's. Only the mesh's state folder,
which holds keys, is covered.
"""

import contextlib
import errno
import os
import pathlib
from collections.abc import Sequence

from retic.local.sandbox import addresses, kernel, messages

_UNBINDABLE = kernel.Mount(1 << 17)
# A name service cache of the machine would answer from outside the pod.
_CACHES = ("/run/nscd", "/var/run/nscd")
_STATVFS = (
    (os.ST_NOSUID, kernel.Mount.NOSUID),
    (os.ST_NODEV, kernel.Mount.NODEV),
    (os.ST_NOEXEC, kernel.Mount.NOEXEC),
    (os.ST_NOATIME, kernel.Mount.NOATIME),
    (os.ST_NODIRATIME, kernel.Mount.NODIRATIME),
    (os.ST_RELATIME, kernel.Mount.RELATIME),
)


def name_files(folder: pathlib.Path, pod: messages.AddPod) -> tuple[messages.Volume, ...]:
    """Write the pod's resolv.conf, hosts and nsswitch.conf to `folder`, as volumes over those of /etc."""
    search = f"{pod.namespace}.svc.{addresses.CLUSTER_DOMAIN}"
    full = f"{pod.hostname}.{pod.subdomain}.{search}\t" if pod.subdomain else ""
    texts = {
        "resolv.conf": pod.resolv_conf
        or f"nameserver {addresses.DNS}\n"
        f"search {search} svc.{addresses.CLUSTER_DOMAIN} {addresses.CLUSTER_DOMAIN}\n"
        "options ndots:5\n",
        "hosts": "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        f"{pod.ip}\t{full}{pod.hostname}\n"
        f"{pod.aliases}",
        "nsswitch.conf": _nsswitch(),
    }
    volumes = []
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
        volumes.append(messages.Volume(source=str(folder / name), path=f"/etc/{name}"))
    return tuple(volumes)


def build(state: str, stage: str, volumes: Sequence[messages.Volume]) -> None:
    """Give the calling process, alone in a new mount namespace, the pod's view.

    `stage` is an empty folder to build in. Raises OSError naming the volume that could not be placed.
    """
    with contextlib.suppress(OSError):
        kernel.detach(f"{state}/netns")
    _View(stage).place_all(volumes)
    for path in _CACHES:
        if os.path.isdir(path) and not os.path.islink(path):
            _cover(path)
    _cover(state)


class _View:
    def __init__(self, stage: str) -> None:
        self._stage = stage
        # Folders that exist in the pod's view only: new entries may simply be made in them.
        self._made: set[str] = set()
        self._volumes: list[str] = []

    def place_all(self, volumes: Sequence[messages.Volume]) -> None:
        placed = sorted(((os.path.realpath(v.path), v) for v in volumes), key=lambda pair: pair[0].count("/"))
        if any(_nearest(path) == "/" for path, _ in placed):
            self._copy_root()
        # By descriptor: a volume over a parent of the sources must not hide them.
        sources = [os.open(volume.source, os.O_PATH) for _, volume in placed]
        for (path, volume), source in zip(placed, sources, strict=True):
            try:
                self._place(path, volume, source)
            except OSError as error:
                raise OSError(error.errno, f"volume at {volume.path}: {error.strerror}") from error
        for path, volume in placed:
            if volume.read_only:
                _make_read_only(path)
        for source in sources:
            os.close(source)

    def _place(self, path: str, volume: messages.Volume, source: int) -> None:
        folder = os.path.isdir(volume.source)
        if not os.path.lexists(path):
            self._make(path, folder=folder)
        elif os.path.isdir(path) != folder:
            kinds = ("a file", "a folder") if folder else ("a folder", "a file")
            raise OSError(errno.EEXIST, f"there is {kinds[0]} at that path, and the volume is {kinds[1]}")
        kernel.mount(f"/proc/self/fd/{source}", path, None, kernel.Mount.BIND | kernel.Mount.REC)
        self._volumes.append(path)

    def _make(self, path: str, *, folder: bool) -> None:
        nearest = _nearest(path)
        if nearest not in self._made and not self._within_volume(nearest):
            self._mimic(nearest)
        parent = pathlib.Path(path).parent
        for missing in [*reversed(parent.parents), parent]:
            if not missing.exists():
                missing.mkdir(mode=0o755)
                self._made.add(str(missing))
        if folder:
            os.mkdir(path, 0o755)
        else:
            pathlib.Path(path).touch(mode=0o644)

    def _within_volume(self, path: str) -> bool:
        return any(path == volume or path.startswith(volume + "/") for volume in self._volumes)

    def _mimic(self, folder: str) -> None:
        self._fill_stage(folder)
        kernel.mount(self._stage, folder, None, kernel.Mount.MOVE)
        self._made.add(folder)

    def _copy_root(self) -> None:
        self._fill_stage("/")
        os.chdir(self._stage)
        kernel.pivot_root(".", ".")
        kernel.detach(".")
        os.chdir("/")
        self._made.add("/")

    def _fill_stage(self, folder: str) -> None:
        """Mount a tmpfs on the stage that holds what `folder` holds."""
        kernel.mount("retic", self._stage, "tmpfs", kernel.Mount.NOSUID | kernel.Mount.NODEV)
        kernel.mount(None, self._stage, None, _UNBINDABLE)
        status = os.stat(folder)
        os.chmod(self._stage, status.st_mode & 0o7777)
        # Without root, the owner of most folders has no number here.
        with contextlib.suppress(OSError):
            os.chown(self._stage, status.st_uid, status.st_gid)
        for entry in os.scandir(folder):
            _bind_back(entry, os.path.join(self._stage, entry.name))
        kernel.mount(None, self._stage, None, kernel.Mount.PRIVATE)


def _bind_back(entry: os.DirEntry[str], target: str) -> None:
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), target)
        return
    if entry.is_dir(follow_symlinks=False):
        os.mkdir(target)
    else:
        pathlib.Path(target).touch()
    # It may be gone by now, or be somebody's FUSE mount that nobody else may look at.
    with contextlib.suppress(OSError):
        kernel.mount(entry.path, target, None, kernel.Mount.BIND | kernel.Mount.REC)


def _nearest(path: str) -> str:
    """The path itself when it exists, else its nearest ancestor that does."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _make_read_only(path: str) -> None:
    now = os.statvfs(path).f_flag
    kept = kernel.Mount.NONE
    for bit, flag in _STATVFS:
        if now & bit:
            kept |= flag
    kernel.mount(None, path, None, kernel.Mount.REMOUNT | kernel.Mount.BIND | kernel.Mount.RDONLY | kept)


def _cover(path: str) -> None:
    flags = kernel.Mount.NOSUID | kernel.Mount.NODEV | kernel.Mount.NOEXEC | kernel.Mount.RDONLY
    kernel.mount("retic", path, "tmpfs", flags, "size=4k,mode=0755")


def _nsswitch() -> str:
    """The machine's nsswitch.conf with `hosts: files dns`: mDNS and resolved know no names of ours."""
    path = pathlib.Path("/etc/nsswitch.conf")
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if not line.startswith("hosts:")]
    return "\n".join([*kept, "hosts: files dns", ""])
