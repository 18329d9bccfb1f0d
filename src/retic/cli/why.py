"""`retic why`: from an xDS resource to the lines, or on a cluster the objects, it was made from."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from retic.cli import cluster, failure, ps_cluster, running, show, which
from retic.control import model
from retic.explain import why as explained

if TYPE_CHECKING:
    from retic.sources.api import Api

_SHOWN = 8  # made objects in one line


def run(options: which.Options, resource: str, *, as_json: bool, reads: bool) -> None:
    """Print it. Raises Failure, also for a name that is no resource's."""
    where = which.mesh(options)
    if isinstance(where, cluster.Target):
        _cluster(where, resource, as_json=as_json, reads=reads)
        return
    raw = running.ask(where, model.AskWhy(resource=resource))
    if as_json:
        show.json(raw)
        return
    answer = msgspec.convert(raw, explained.Why)
    _begin(answer)
    written = [one for one in answer.sources if one.file]
    rest = [one for one in answer.sources if not one.file]
    for line in _lines(written):
        print(line, flush=True)
    for one in rest:
        print(f"{one.object}{_absent(one) or ' (made by the mesh, in no file)'}", flush=True)
    _end(answer, reads=reads)


def _cluster(target: cluster.Target, resource: str, *, as_json: bool, reads: bool) -> None:
    from retic.answers import asides
    from retic.wiring import remote

    async def work(api: "Api") -> tuple[explained.Why, tuple[str, ...]]:
        mesh, told = await remote.see(api)
        if told.installed is False:
            raise failure.Failure(ps_cluster.not_installed(api))
        try:
            answer = mesh.why(resource)
        except explained.Unknown as error:
            raise failure.Failure(str(error)) from error
        sources = await asides.written(api, answer.sources)
        return msgspec.structs.replace(answer, sources=sources), mesh.unseen

    answer, unseen = cluster.run(target, work)
    if as_json:
        show.json(answer)
    else:
        objects(answer, reads=reads)
    ps_cluster.notes(unseen)


def objects(answer: explained.Why, *, reads: bool) -> None:
    """Print an answer whose sources are objects of a cluster."""
    _begin(answer)
    for line in _objects(answer.sources):
        print(line, flush=True)
    _end(answer, reads=reads)


def _begin(answer: explained.Why) -> None:
    if not answer.exists:
        print(f"{answer.resource} does not exist; what decided that:", flush=True)


def _end(answer: explained.Why, *, reads: bool) -> None:
    if not answer.sources:
        print("made from no object: it is the same in every mesh", flush=True)
    if reads:
        print(flush=True)
        _print(answer.reads, 0)


def _objects(sources: Sequence[explained.Source]) -> Iterator[str]:
    """One line for each object that somebody wrote, and for each owner with what is of it."""
    itself = {one.object: one for one in sources if not one.made_of}
    made: dict[str, list[str]] = {}
    for one in sources:
        names = made.setdefault(one.made_of or one.object, [])
        if one.made_of:
            names.append(one.object)
    for name, names in made.items():
        who = itself[name].manager if name in itself else ""
        by = f" (by {who}, {itself[name].time})" if who else ""
        yield f"{name}{_absent(itself[name]) if name in itself else ''}{by}{_of(names, 'of which were made')}"


def _lines(written: Sequence[explained.Source]) -> Iterator[str]:
    """One line for each object in a file, with what was made of it, in the files' order."""
    itself = {one.object: one for one in written if not one.made_of}
    made: dict[tuple[str, str, int], list[str]] = {}
    for one in written:
        names = made.setdefault((one.made_of or one.object, one.file, one.line), [])
        if one.made_of:
            names.append(one.object)
    for (name, file, line), names in made.items():
        absent = _absent(itself[name]) if name in itself else ""
        yield f"{show.near(file)}:{line}: {name}{absent}{_of(names, 'of which the mesh made')}"


def _of(names: Sequence[str], words: str) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f", {words} {', '.join(names[:_SHOWN])}{more}" if names else ""


def _absent(one: explained.Source) -> str:
    return "" if one.present else " (does not exist, and that counts)"


def _print(step: explained.Step, depth: int) -> None:
    again = " (as above)" if step.repeated else ""
    print(f"{'  ' * depth}{step.kind} {step.name} {step.key}{again}", flush=True)
    for child in step.children:
        _print(child, depth + 1)
