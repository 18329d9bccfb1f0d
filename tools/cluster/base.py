"""The layer that images stand on: a small Debian with Python, from the machine's own package sources; cached."""

import hashlib
import os
import pathlib
import platform
import tarfile

from tools.cluster import debian, places, steps

PACKAGES = ("ca-certificates", "iproute2", "nftables", "python3")
_UNREAD = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
# What the machine's configuration left there, and what differs from one making to the next.
_REMOVED = (
    "etc/apt/sources.list", "etc/apt/sources.list.d/*", "etc/resolv.conf", "etc/hostname", "var/log/*",
    "var/cache/ldconfig/aux-cache", "etc/apt/apt.conf.d/99mmdebstrap",
)  # fmt: skip


def layer(run: steps.Steps | None = None) -> pathlib.Path:
    """The tar of a minimal Debian with PACKAGES, of the release that this machine has."""
    run = run or steps.Steps()
    suite = _suite()
    key = hashlib.sha256(repr((suite, PACKAGES, _UNREAD, _REMOVED)).encode()).hexdigest()[:16]
    tar = places.cache() / "images" / f"base-{suite}-{key}.tar"
    if not tar.exists():
        with run.part("base layer"):
            debian.install(debian.IMAGES, run)
            _make(tar, suite, run)
    return tar


def python(tar: pathlib.Path) -> str:
    """The version of the layer's Python, like 3.11."""
    with tarfile.open(tar) as archive:
        for member in archive:
            if member.name.removeprefix("./") == "usr/bin/python3":
                return member.linkname.removeprefix("python")
    raise steps.FailedError(f"{tar} has no python3")


def _suite() -> str:
    release = platform.freedesktop_os_release()
    try:
        return release["VERSION_CODENAME"]
    except KeyError:
        raise steps.FailedError("base layer: /etc/os-release names no VERSION_CODENAME; Debian is needed") from None


def _make(tar: pathlib.Path, suite: str, run: steps.Steps) -> None:
    tar.parent.mkdir(parents=True, exist_ok=True)
    unfinished = tar.with_name(f".{os.getpid()}-{tar.name}")
    removed = " ".join(f'"$1"/{each}' for each in _REMOVED)
    try:
        run.command(
            "mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}",
            *(f"--dpkgopt=path-exclude={each}" for each in _UNREAD),
            *(f"--aptopt={path}" for path in _apt_options()),
            f"--customize-hook=rm -rf {removed}",
            suite, unfinished, *_sources(), env={"SOURCE_DATE_EPOCH": "0"},
        )  # fmt: skip
        unfinished.replace(tar)
    finally:
        unfinished.unlink(missing_ok=True)


def _sources() -> list[pathlib.Path]:
    apt = pathlib.Path("/etc/apt")
    found = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("debian*"))]
    files = [path for path in found if path.suffix in (".list", ".sources") and path.is_file()]
    if not files:
        raise steps.FailedError("base layer: no package sources in /etc/apt")
    return files


def _apt_options() -> list[pathlib.Path]:
    """The machine's own way to its package sources: proxies, certificates, what it does not check."""
    wanted = ("Acquire::",)
    return [
        path
        for path in sorted(pathlib.Path("/etc/apt/apt.conf.d").iterdir())
        if all(line.startswith(wanted) for line in _statements(path))
    ]


def _statements(path: pathlib.Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "//", "/*"))]
