"""`retic ca trust`: which trust domains a local mesh accepts beside its own."""

import msgspec

from retic.cli import cluster, failure, running, show, trust, which
from retic.control import model


def run(
    name: str | None, aliases: tuple[str, ...], trusted: tuple[str, ...], *, none: bool, as_json: bool
) -> None:
    """Change it, if anything is given, and print what holds then. Raises Failure."""
    if none and (aliases or trusted):
        raise failure.Failure(
            "--none is instead of --trust-domain-alias and --trusted-root: give one or the other", code=2
        )
    change = trust.accepted(aliases, trusted) if none or aliases or trusted else None
    where = which.mesh(which.Options(name))
    if isinstance(where, cluster.Target):
        raise failure.Failure(
            "on a cluster they are values: retic upgrade --set trustDomainAliases=DOMAIN, or -f FILE with trustedRoots;"
            " for a mesh on this machine give --name"
        )
    answer = running.ask(where, model.AskAccepted(change))
    if as_json:
        show.json(answer)
        return
    now = msgspec.convert(answer, model.Accepted)
    for alias in now.aliases:
        print(f"{alias}: an alias of the mesh's own trust domain")
    for root in now.roots:
        print(f"{root.trust_domain}: callers whose certificates lead to {root.file}")
    if not now.aliases and not now.roots:
        print("no trust domain is accepted but the mesh's own")
