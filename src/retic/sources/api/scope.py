"""What a user may read of a cluster: everything, or one namespace, or less; and what is to be said of it."""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from retic import findings, objects
from retic.sources.api import client, kinds, listing


class Scope(msgspec.Struct, frozen=True):
    """Which objects were looked at. `reads`: how kinds were listed; those of `namespace` only, if they name one.

    `single`: objects that were asked for by name, there or not. `lacking`: rights that are missing, in words.
    """

    reads: tuple[kinds.Read, ...]
    namespace: str = ""
    single: frozenset[findings.Ref] = frozenset()
    lacking: tuple[str, ...] = ()

    def sees(self, ref: findings.Ref) -> bool:
        """Whether the object would be known if it were there."""
        if ref in self.single:
            return True
        return any(each.kind == ref.kind and each.namespace in (None, ref.namespace) for each in self.reads)

    def sees_all(self, kind: str) -> bool:
        """Whether every object of the kind is known."""
        return any(each.kind == kind and each.namespace is None for each in self.reads)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was refused."""
        return not self.lacking


class Seen(msgspec.Struct, frozen=True):
    """What was found within a scope."""

    listed: listing.Listed
    scope: Scope


async def look(api: client.Api, reads: Sequence[kinds.Read], namespace: str) -> Seen:
    """All objects of the kinds; of kinds that may not be listed as a whole, those of the namespace, if that may be.

    Error when the server cannot be asked. Nothing is raised for rights that are missing.
    """
    first = await listing.listed(api, reads)
    refused = {each.read.kind for each in first.refused}
    if not refused:
        return Seen(first, Scope(tuple(reads)))
    inside = [
        msgspec.structs.replace(read, namespace=namespace)
        for read in reads
        if read.kind in refused and objects.KINDS[read.kind].namespaced
    ]
    second = await listing.listed(api, inside)
    still = {each.read.kind for each in second.refused}
    good = tuple(read for read in reads if read.kind not in refused)
    partly = tuple(read for read in inside if read.kind not in still)
    only = f" (so only namespace {namespace} is shown)" if partly else ""
    lacking = [f"list {_names(read for read in reads if read.kind in refused)} in all namespaces{only}"]
    if still:
        lacking.append(f"list {_names(read for read in inside if read.kind in still)} in namespace {namespace}")
    single: frozenset[findings.Ref] = frozenset()
    found = listing.Listed(first.values + second.values, first.found + second.found)
    spaces = next((read for read in reads if read.kind == "Namespace" and "Namespace" in refused), None)
    if spaces is not None:
        own = await listing.one(api, spaces, "", namespace)
        if own.refused:
            lacking.append(f"get namespaces/{namespace}")
        else:
            found, single = found + own, frozenset({findings.Ref("Namespace", "", namespace)})
    return Seen(found, Scope(good + partly, namespace if partly else "", single, tuple(lacking)))


def _names(reads: Iterable[kinds.Read]) -> str:
    return ", ".join(read.resource for read in reads)


async def named(api: client.Api, seen: Seen, read: kinds.Read, refs: Sequence[findings.Ref]) -> Seen:
    """The same, and these objects of a kind that is not listed."""
    found, lacking, single = seen.listed, list(seen.scope.lacking), set(seen.scope.single)
    answers = await asyncio.gather(*(listing.one(api, read, ref.namespace, ref.name) for ref in refs))
    for ref, each in zip(refs, answers, strict=True):
        if each.refused:
            lacking.append(f"get {read.resource}/{ref.name} in namespace {ref.namespace}")
        else:
            found += each
            single.add(ref)
    scope = msgspec.structs.replace(seen.scope, lacking=tuple(lacking), single=frozenset(single))
    return Seen(found, scope)
