"""The modes of pods: which PeerAuthentications there are, and what a pod's ports take now (`taken`).

While a change of modes is on its way (`tables.FORMER`), what was before it still counts: whoever has not heard of it
is not refused, and callers change to or from plaintext only when everybody takes both. What of a policy cannot be read
is STRICT.
"""

import itertools

import msgspec

from retic import findings, graph
from retic.mesh import peer, tables, workloads
from retic.objects import security

_HIGHEST = 65535


def port(text: str) -> int | None:
    """A port's number as portLevelMtls writes it, None for what is no port."""
    known = text.isascii() and text.isdecimal() and text[0] != "0" and len(text) <= len(str(_HIGHEST))
    return int(text) if known and int(text) <= _HIGHEST else None


def age(key: tables.Key, found: security.PeerAuthentication) -> tuple[str, tables.Key]:
    """What policies of one scope are ordered by: the oldest first, those of files by their names."""
    return found.metadata.creation_timestamp or "", key


def _rule(key: tables.Key, found: security.PeerAuthentication) -> peer.Rule:
    spec, ref = found.spec, findings.Ref("PeerAuthentication", key.namespace, key.name)
    if security.is_scope_unread(found):
        return peer.Rule(ref, mode=peer.Mode.STRICT, stray=True)
    labels = tuple(sorted(spec.selector.match_labels.items())) if spec.selector else ()
    ports = [(port(text), said) for text, said in sorted(spec.port_level_mtls.items())]
    if found.unread or spec.unread or (labels and any(number is None for number, _ in ports)):
        return peer.Rule(ref, labels, peer.Mode.STRICT)
    at_ports = tuple(peer.PortMode(number, _mode(said)) for number, said in ports if number is not None)
    return peer.Rule(ref, labels, _mode(spec.mtls), at_ports)


def _mode(said: security.MutualTLS | None) -> peer.Mode | None:
    if said is not None and said.unread:
        return peer.Mode.STRICT
    return peer.Mode(said.mode) if said is not None and said.mode not in (None, "UNSET") else None


class Story(msgspec.Struct, frozen=True):
    """A namespace's rules, oldest first: as they are, as callers go by them, and as they were before, latest first."""

    now: tuple[peer.Rule, ...]
    told: tuple[peer.Rule, ...]
    before: tuple[tuple[peer.Rule, ...], ...] = ()


Known = dict[tables.Key, security.PeerAuthentication | None]


@graph.query
def story(db: graph.Db, namespace: str) -> Story:
    """The namespace's PeerAuthentications, and what they were while a change is on its way."""
    names = sorted(db.find(tables.PEER_AUTHENTICATIONS_BY_NAMESPACE, namespace))
    now: Known = {name: db.get(tables.PEER_AUTHENTICATIONS, name) for name in names}
    former = {name: db.get(tables.FORMER, name) for name in sorted(db.find(tables.FORMER_BY_NAMESPACE, namespace))}
    changed = {name: row for name, row in former.items() if row is not None and row.was}
    told = _rules(now | {name: row.was[-1] for name, row in changed.items() if row.is_told})
    deepest = max((len(row.was) for row in changed.values()), default=0)
    return Story(_rules(now), told, tuple(_rules(now | _earlier(changed, back)) for back in range(1, deepest + 1)))


def _earlier(changed: dict[tables.Key, tables.Former], back: int) -> Known:
    """What was there so many changes ago; of what has fewer, the first."""
    return {name: row.was[-min(back, len(row.was))] for name, row in changed.items()}


def _rules(known: Known) -> tuple[peer.Rule, ...]:
    there = [(name, found) for name, found in known.items() if found is not None]
    return tuple(_rule(name, found) for name, found in sorted(there, key=lambda one: age(*one)))


_NOTHING = Story((), ())


def _stories(db: graph.Db, namespace: str) -> tuple[Story, Story]:
    """Of the mesh, and of the namespace where that is another."""
    root = db.ask(workloads.settings, tables.ONE).system_namespace
    return db.ask(story, root), _NOTHING if namespace == root else db.ask(story, namespace)


def _default(db: graph.Db) -> peer.Mode:
    return peer.Mode(db.ask(workloads.settings, tables.ONE).mode)


@graph.query
def modes(db: graph.Db, key: tables.Key) -> peer.Modes:
    """The modes of a pod as the policies have them; the mesh's own when there is no such pod."""
    labels = db.ask(workloads.pod_labels, key)
    mesh, own = _stories(db, key.namespace)
    if labels is None:
        return peer.Modes(peer.Decided(_default(db)))
    return peer.compose(_default(db), peer.Layers(mesh.now, own.now), labels)


@graph.query
def taken(db: graph.Db, key: tables.Key) -> peer.Taken:
    """What a pod's ports take at this moment."""
    labels = db.ask(workloads.pod_labels, key) or {}
    now, default = db.ask(modes, key), _default(db)
    mesh, own = _stories(db, key.namespace)
    told = peer.compose(default, peer.Layers(mesh.told, own.told), labels)
    steps = itertools.zip_longest(mesh.before, own.before)
    layers = [peer.Layers(m if m is not None else mesh.now, o if o is not None else own.now) for m, o in steps]
    before = [peer.compose(default, each, labels) for each in layers]
    ports = sorted({each.port for one in (now, told, *before) for each in one.ports})
    at_ports = [
        peer.terms(now.at(number).mode, told.at(number).mode, (one.at(number).mode for one in before))
        for number in ports
    ]
    whole = peer.terms(now.whole.mode, told.whole.mode, (one.whole.mode for one in before))
    return peer.taken(whole, [peer.PortTerms(*each) for each in zip(ports, at_ports, strict=True)])
