"""`retic up`: check, start, wait or follow, end."""

import contextlib
import math
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from retic.cli import counting, failure, ps, running, show, trust
from retic.control import client, model
from retic.control import config as settings

if TYPE_CHECKING:
    from retic.local import outer
    from retic.sources import model as sources


class Options(msgspec.Struct, frozen=True):
    """What a mesh is to be. `lifetime` of certificates is in seconds."""

    name: str
    nodes: int
    lifetime: int
    trust: trust.Options
    redis: str = ""
    credentials: pathlib.Path | None = None
    access_logs: bool = False


class _Told(msgspec.Struct, frozen=True):
    """What of it the control plane is told: fields of its `Config`."""

    authority: settings.Authority | None
    accepted: settings.Accepted
    counting: settings.Counting
    access_logs: bool = False


def run(files: Sequence[pathlib.Path], options: Options, *, detach: bool, timeout: float) -> None:
    """Run the mesh, in the foreground until it is ended, or detached until it is ready. Raises Failure."""
    running.need_linux()
    name = options.name
    counts = counting.checked(options.redis, options.credentials)
    told = _Told(*trust.checked(options.trust), counts, options.access_logs)
    loaded = check(files)
    if detach:
        try:
            _detached(_start(files, options, told, detach=True), name, timeout)
        except KeyboardInterrupt:
            raise failure.Failure(f"interrupted; {_goes_on(name)}", code=failure.INTERRUPTED) from None
        return
    mesh = _start(files, options, told, detach=False)
    from retic.cli import foreground

    foreground.run(mesh, running.folder(name), timeout, shown=loaded.findings)


def _detached(mesh: "outer.Mesh", name: str, timeout: float) -> None:
    path, begun = running.folder(name), time.monotonic()
    reasons = _becoming_ready(mesh, path, timeout)
    if reasons:
        raise failure.Failure(_not_ready(name, time.monotonic() - begun, reasons))
    ps.addresses(msgspec.convert(running.ask(path, model.AskPs()), model.Ps))
    print(f"mesh {name} is ready: see retic ps{_flag(name)}, end it with retic down{_flag(name)}")


def check(files: Sequence[pathlib.Path]) -> "sources.Loaded":
    """Read the manifests and print what is wrong with them; Failure when nothing can be run at all."""
    from retic.sources import manifests, paths

    if paths.STANDARD_INPUT in files:
        raise failure.Failure(
            "a mesh follows its files, and standard input is none: write it to a file, and name that with -f",
            code=2,
        )
    missing = [str(path) for path in paths.absent(files)]
    if missing:
        raise failure.Failure(f"{', '.join(missing)}: no such file or folder", code=2)
    loaded = manifests.load(files)
    show.print_findings(loaded.findings, to_errors=True)
    if not loaded.objects:
        raise failure.Failure(f"no Kubernetes object to run in {', '.join(map(str, files))}")
    return loaded


def _start(
    files: Sequence[pathlib.Path],
    options: Options,
    told: _Told,
    *,
    detach: bool,
) -> "outer.Mesh":
    from retic.local import outer, state

    name = options.name
    try:
        config = state.Config(
            name=name,
            nodes=tuple(f"node-{number}" for number in range(1, options.nodes + 1)),
            manifests=tuple(os.path.abspath(path) for path in files),
            state=str(state.folder(name)),
            lifetime=options.lifetime,
            trust_domain=options.trust.domain,
            control=msgspec.to_builtins(told),
        )
        return outer.start(config, detach=detach)
    except state.InUseError:
        raise failure.Failure(
            f"a mesh named {name} runs already: see it with retic ps{_flag(name)}, stop it with "
            f"retic down{_flag(name)}, or choose another --name{_instead(options)}"
        ) from None
    except (state.StateError, outer.StartError) as error:
        raise failure.Failure(str(error)) from error


def _instead(options: Options) -> str:
    """How to give a running mesh what somebody wanted to start it with."""
    given, flag = options.trust, _flag(options.name)
    hint = ""
    if given.cert is not None:
        hint += "; a mesh that was started with --ca-cert follows its files: write a new certificate and key into them"
    if given.aliases or given.trusted:
        hint += f"; change which trust domains it accepts with retic ca trust{flag}"
    return hint


def _flag(name: str) -> str:
    return "" if name == "retic" else f" --name {name}"


def _becoming_ready(mesh: "outer.Mesh", path: pathlib.Path, timeout: float) -> list[str]:
    end = time.monotonic() + timeout
    try:
        return list(waiting(path, end))
    except failure.Failure:
        with contextlib.suppress(TimeoutError):
            mesh.wait(0.5)
            raise failure.Failure(ended(path)) from None
        raise


def waiting(path: pathlib.Path, end: float) -> Iterator[str]:
    """Wait until pods are ready and proxies have acknowledged, at most until `end` (monotonic seconds); less
    when all that is left is wrong in the manifests.

    Gives the reasons why not; none means ready. Raises Failure when the mesh does not answer.
    """
    left = max(0.0, end - time.monotonic())
    settled = _patiently(path / running.CLUSTER, {"settle": left}, end)
    if settled is None:
        yield "the mesh's first process did not answer"
    elif not settled["ready"]:
        yield from settled["reasons"] or ["some pods are not ready"]
    left = max(0.0, end - time.monotonic())
    converged = _patiently(path / running.CONTROL, model.AskConverged(seconds=left), end)
    if converged is None:
        yield "the control plane did not answer"
    elif "error" in converged:
        yield str(converged["error"])
    elif not converged["answer"]["ready"]:
        yield from converged["answer"]["reasons"] or ["some proxies have not taken their configuration"]


def _patiently(sock: pathlib.Path, request: object, end: float) -> dict[str, Any] | None:
    """One answer, asking anew while nobody listens yet; None when there was none by `end`."""

    def ask() -> dict[str, Any]:
        grace = max(0.0, end - time.monotonic()) + 5.0
        for line in client.lines(sock, request, seconds=grace):
            answer: dict[str, Any] = msgspec.json.decode(line)
            return answer
        raise client.Away(str(sock))

    try:
        return running.patiently(ask, seconds=max(0.0, end - time.monotonic()))
    except (client.Away, TimeoutError):
        return None


def _not_ready(name: str, seconds: float, reasons: Sequence[str]) -> str:
    shown = "".join(f"\n  {reason}" for reason in dict.fromkeys(reasons))
    return f"mesh {name} is not ready after {math.ceil(seconds)} s:{shown}\n{_goes_on(name)}"


def _goes_on(name: str) -> str:
    flag = _flag(name)
    return f"mesh {name} goes on: see it with retic ps{flag} and retic logs{flag}, end it with retic down{flag}"


def ended(path: pathlib.Path) -> str:
    """Why a mesh that has just ended did so, as far as its logs tell."""
    for role in ("cluster", "outer"):
        with contextlib.suppress(OSError):
            lines = (path / "logs" / f"{role}.log").read_text(errors="replace").strip().splitlines()
            if lines:
                return f"the mesh ended: {lines[-1]}"
    return "the mesh ended"


def say(text: str) -> None:
    """One event of the foreground, with its time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stdout, flush=True)
