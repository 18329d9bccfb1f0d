"""Which mesh a command is about: one on this machine, or the one on the cluster of a kubeconfig."""

import contextlib
import pathlib
import sys
from collections.abc import Sequence

import msgspec

from retic.cli import cluster, failure, running

DEFAULT = "retic"


class Options(msgspec.Struct, frozen=True):
    """What the command line says: --name, --kubeconfig, --context; each None when it is not there."""

    name: str | None = None
    kubeconfig: pathlib.Path | None = None
    context: str | None = None


def mesh(options: Options) -> pathlib.Path | cluster.Target:
    """The state folder of the running local mesh, or the cluster. Raises Failure when there is neither.

    --name means a local mesh, --kubeconfig and --context a cluster. With none of them it is the local mesh of the
    default name when that runs, else the cluster of the current kubeconfig. Where both are there, which of them
    answers is said on the error stream.
    """
    named = options.kubeconfig is not None or options.context is not None
    if options.name is not None and named:
        raise failure.Failure(
            "--name is a mesh on this machine, --kubeconfig and --context name a cluster: give one or the other", code=2
        )
    if options.name is not None:
        return running.folder(options.name)
    target = cluster.Target(options.kubeconfig, options.context)
    if named:
        return target
    local = running.found(DEFAULT)
    if local is not None:
        with contextlib.suppress(failure.Failure):
            if there := origin(target):
                _say(f"this is the mesh {DEFAULT} on this machine; for that of the cluster ({there}) use --context")
        return local
    others = running.names()
    there = origin(target)
    if not there:
        raise failure.Failure(_neither(others))
    if others:
        _say(f"this is the cluster ({there}); for a mesh on this machine use --name {'|'.join(others)}")
    return target


def _neither(others: Sequence[str]) -> str:
    cluster = "no cluster is named: set KUBECONFIG, write ~/.kube/config, or give --kubeconfig"
    if not running.may_run():
        return f"{cluster} (local mode needs Linux, so no mesh can run on this machine)"
    hint = f" (running: {', '.join(others)}: choose with --name)" if others else ""
    return f"no mesh named {DEFAULT} runs on this machine{hint}: start one with: retic up -f PATH; and {cluster}"


def origin(target: cluster.Target) -> str:
    """Which kubeconfig and context name a cluster, "" when none does. Asks no server.

    Raises Failure when somebody has named one that cannot be used.
    """
    from retic.sources.api import errors, kubeconfig

    try:
        return kubeconfig.load(target.kubeconfig, target.context).origin
    except errors.UnreachableError as error:
        if kubeconfig.is_named():
            raise failure.Failure(str(error)) from error
        return ""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
