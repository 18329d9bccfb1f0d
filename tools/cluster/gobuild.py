"""Binaries from Go modules, with the Go that is installed. A module whose inputs are unchanged is not built again."""

import fcntl
import hashlib
import pathlib
import re
import shutil
import tempfile

import msgspec
from tools.cluster import places, steps

ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


class Module(msgspec.Struct, frozen=True):
    """A folder under tools/cluster/go, and the binaries that come from it by package."""

    name: str
    binaries: dict[str, str]
    stamped: tuple[str, ...] = ()
    """Packages whose `gitVersion`, `gitMajor` and `gitMinor` are set at link time, from go.mod's requirement."""
    release: str = ""
    """The required module whose version those show."""

    @property
    def folder(self) -> pathlib.Path:
        return places.GO / self.name


_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")

ETCD = Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"})
KUBERNETES = Module(
    "kubernetes",
    {name: f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES},
    ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"),
    "k8s.io/kubernetes",
)
COREDNS = Module("coredns", {"coredns": "."})
PAUSE = Module("pause", {"pause": "."})
COLLECTOR = Module("collector", {"otelcol": "."})
"""An OpenTelemetry Collector; tests of traces need it, a cluster does not."""

CONTROL_PLANE = (ETCD, KUBERNETES)
ALL = (ETCD, KUBERNETES, COREDNS, PAUSE)


def build(module: Module, run: steps.Steps) -> bool:
    """See that the module's binaries are there and current. False where nothing had to be done.

    One build of a module at a time on this machine: the second waits, and finds it done.
    """
    stamps = places.binaries() / ".stamps"
    stamps.mkdir(parents=True, exist_ok=True)
    with (stamps / f".{module.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(module, run, stamps / module.name)


def _build(module: Module, run: steps.Steps, stamp: pathlib.Path) -> bool:
    bin_, wanted = places.binaries(), _stamp(module, run)
    if stamp.exists() and stamp.read_text() == wanted and all((bin_ / name).exists() for name in module.binaries):
        return False
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=bin_) as built:
        for name, package in _groups(module, built):
            run.command(
                "go", "build", "-trimpath", "-ldflags", _flags(module), "-o", name, *package,
                cwd=module.folder, env=ENVIRONMENT,
            )  # fmt: skip
        for name in module.binaries:
            (pathlib.Path(built) / name).replace(bin_ / name)
    stamp.write_text(wanted)
    return True


def _groups(module: Module, into: str) -> list[tuple[str, list[str]]]:
    """`go build -o` and its packages: all at once where each binary has its package's name."""
    if all(package.rpartition("/")[2] == name for name, package in module.binaries.items()):
        return [(f"{into}/", list(module.binaries.values()))]
    return [(f"{into}/{name}", [package]) for name, package in module.binaries.items()]


def version(module: str, folder: pathlib.Path) -> str:
    """The version of `module` that the go.mod in `folder` requires, like v1.34.4."""
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (folder / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise steps.FailedError(f"{folder / 'go.mod'} does not require {module}")
    return found[1]


def _flags(module: Module) -> str:
    flags = ["-s", "-w"]
    if module.stamped:
        release = version(module.release, module.folder)
        major, minor = release.removeprefix("v").split(".")[:2]
        for package in module.stamped:
            flags += [f"-X {package}.gitVersion={release}", f"-X {package}.gitMajor={major}"]
            flags += [f"-X {package}.gitMinor={minor}"]
    return " ".join(flags)


def _stamp(module: Module, run: steps.Steps) -> str:
    if not shutil.which("go"):
        raise steps.FailedError(f"{module.name}: Go is not installed; it is needed at the version in {module.folder}")
    digest = hashlib.sha256()
    for path in sorted(module.folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    digest.update(f"{_flags(module)}\0{run.command('go', 'version', env=ENVIRONMENT)}".encode())
    return digest.hexdigest()
