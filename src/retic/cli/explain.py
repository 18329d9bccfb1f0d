"""`retic explain request`: what becomes of a request, from manifests alone or from a mesh that runs."""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from retic.cli import cluster, failure, ps_cluster, running, show, which
from retic.control import model
from retic.explain.request import answer

if TYPE_CHECKING:
    from retic.sources.api import Api

_ERROR = 400


class Question(msgspec.Struct, frozen=True):
    """The command line."""

    source: str
    target: str
    namespace: str
    method: str
    path: str
    headers: tuple[str, ...]
    address: str
    tcp: bool


def run(question: Question, options: which.Options, files: Sequence[pathlib.Path], *, as_json: bool) -> int:
    """Print the answer; 0 when the request gets an answer that is no error, 1 when not. Failure with code 2."""
    asked = _asked(question)
    if files:
        found = _offline(asked, files)
    else:
        where = which.mesh(options)
        found = _cluster(where, asked) if isinstance(where, cluster.Target) else _local(where, asked)
    if as_json:
        show.json(found)
    else:
        print_answer(found)
    return int(not found.allowed or (found.status is not None and found.status >= _ERROR))


def _asked(question: Question) -> answer.Asked:
    headers = []
    for each in question.headers:
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            raise failure.Failure(f"-H {each!r} is no header: write -H 'NAME: VALUE'", code=2)
        headers.append((name.strip(), value.strip()))
    return answer.Asked(
        question.source, question.target, question.namespace, question.method.upper(), question.path, tuple(headers),
        question.address, tcp=question.tcp,
    )


def _local(path: pathlib.Path, asked: answer.Asked) -> answer.Answer:
    try:
        return msgspec.convert(running.ask(path, model.AskExplain(asked)), answer.Answer)
    except failure.Failure as error:
        raise failure.Failure(str(error), code=2) from error


def _cluster(target: cluster.Target, asked: answer.Asked) -> answer.Answer:
    from retic.wiring import remote

    async def work(api: "Api") -> tuple[answer.Answer, tuple[str, ...]]:
        mesh, told = await remote.see(api)
        if told.installed is False:
            raise failure.Failure(ps_cluster.not_installed(api), code=2)
        ps_cluster.refuse_blind(mesh)
        return mesh.request(asked), mesh.unseen

    try:
        found, unseen = cluster.run(target, work)
    except answer.Unclear as error:
        raise failure.Failure(str(error), code=2) from error
    ps_cluster.notes(unseen)
    return found


def _offline(asked: answer.Asked, files: Sequence[pathlib.Path]) -> answer.Answer:
    from retic.cli import analyze
    from retic.explain.request import deciding
    from retic.sources import manifests, paths

    missing = [str(path) for path in paths.absent(files)]
    if missing:
        raise failure.Failure(f"{', '.join(missing)}: no such file or folder", code=2)
    loaded = manifests.load(files)
    if not loaded.objects:
        show.print_findings(loaded.findings, to_errors=True)
        raise failure.Failure(f"no Kubernetes object in {', '.join(map(str, files))}", code=2)
    try:
        return deciding.decide(analyze.world(loaded), asked).answer
    except answer.Unclear as error:
        raise failure.Failure(str(error), code=2) from error


def print_answer(found: answer.Answer) -> None:
    """The way from top to bottom, each step with its object's place."""
    width = max((len(step.what) for step in found.steps), default=0)
    for step in found.steps:
        named = step.object if step.object not in step.text else ""
        place = f"{show.near(step.file)}:{step.line}" if step.file else ""
        behind = ", ".join(filter(None, (named, place)))
        print(f"{step.what:{width}}  {step.text}{f'  ({behind})' if behind else ''}", flush=True)
