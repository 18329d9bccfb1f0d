"""The suite and the servers that its manifests run, from their modules; built once, then kept."""

import hashlib
import pathlib
import tempfile

from tools.cluster import gobuild, places, steps

SUITE = "sigs.k8s.io/gateway-api/conformance"
API = gobuild.Module("gateway-api", {"echo-basic": f"{SUITE}/echo-basic"})
_ECHO = "istio.io/istio/pkg/test/echo/cmd"
ECHO = gobuild.Module("echo", {"echo-client": f"{_ECHO}/client", "echo-server": f"{_ECHO}/server"})
TEST = "conformance.test"
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


def everything(run: steps.Steps) -> None:
    """See that all of it is there and current."""
    for module in (API, ECHO):
        with run.part(module.name):
            gobuild.build(module, run)
    with run.part("the suite"):
        _suite(run)


def release() -> str:
    """The suite's version, like v1.6.1."""
    return gobuild.version(SUITE, API.folder)


def folder(run: steps.Steps) -> pathlib.Path:
    """The suite's own source: its manifests and its list of tests."""
    found = run.command("go", "list", "-m", "-f", "{{.Dir}}", SUITE, cwd=API.folder, env=_ENVIRONMENT)
    return pathlib.Path(found.strip())


def _suite(run: steps.Steps) -> None:
    bin_ = places.binaries()
    stamp = bin_ / ".stamps" / TEST
    go = run.command("go", "version", env=_ENVIRONMENT)
    made_of = b"".join((API.folder / name).read_bytes() for name in ("go.mod", "go.sum")) + go.encode()
    wanted = hashlib.sha256(made_of).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted and (bin_ / TEST).exists():
        return
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=bin_) as built:
        made = pathlib.Path(built) / TEST
        run.command(
            "go", "test", "-c", "-trimpath", "-ldflags", "-s -w", "-o", made, SUITE, cwd=API.folder, env=_ENVIRONMENT
        )
        made.replace(bin_ / TEST)
    stamp.write_text(wanted)
