"""Golden folders of commands on a cluster: from the API server's objects to what is printed.

A case is a folder with `in.yaml` (objects as an API server sends them, statuses included), `why` (resources' names),
and, where they are wanted, `nodes.yaml` (reports of nodes) and `scope.yaml` (`namespace`: all that may be read, but
for the kinds in `refused`). Expected are `ps.txt`, `all.txt` (-A), `analyze.txt` and `why.txt`;
with `requests.yaml` (a list of questions about requests) `requests.txt`, too.
"""

import contextlib
import datetime
import io
import pathlib
from collections.abc import Callable
from typing import Any

import msgspec
import yaml

from retic.answers import visible
from retic.cli import explain as explained
from retic.cli import ps_cluster, show
from retic.cli import why as printed
from retic.explain import why as explain
from retic.explain.request import answer
from retic.install import nodes
from retic.sources.api import decoding, kinds, listing, scope
from retic.wiring import remote

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


class Case:
    """One folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        seen = _seen(folder)
        told = remote.Told(remote.DEFAULTS, installed=True)
        reports = folder / "nodes.yaml"
        said = {
            node: msgspec.convert(one, nodes.Report) for node, one in yaml.safe_load(reports.read_text()).items()
        } if reports.exists() else None  # fmt: skip
        self.mesh = remote.made(seen, told, said)

    def expected(self) -> dict[str, str]:
        """What the folder holds now, by path within it."""
        return {file.name: file.read_text() for file in self.folder.glob("*.txt")}

    def actual(self) -> dict[str, str]:
        """What it should hold, made anew."""
        asked = self.folder / "requests.yaml"
        more = {"requests.txt": self._requests(asked)} if asked.exists() else {}
        return more | {
            "ps.txt": _printed(lambda: self._ps(visible.Choice())),
            "all.txt": _printed(lambda: self._ps(visible.Choice(everywhere=True))),
            "analyze.txt": _printed(self._analyze),
            "why.txt": "".join(self._why(name) for name in (self.folder / "why").read_text().split()),
        }

    def _requests(self, file: pathlib.Path) -> str:
        parts = []
        for one in msgspec.convert(yaml.safe_load(file.read_text()), list[answer.Asked]):
            parts.append(f"--- {one.source} -> {one.target} {one.method} {one.path}\n{_printed(self._request(one))}")
        return "".join(parts)

    def _request(self, asked: answer.Asked) -> Callable[[], None]:
        def show() -> None:
            try:
                explained.print_answer(self.mesh.request(asked))
            except answer.Unclear as error:
                print(error)

        return show

    def _ps(self, choice: visible.Choice) -> None:
        state = self.mesh.ps(choice)
        ps_cluster.tables(state, NOW)
        ps_cluster.notes(state.unseen, state.unjudged)

    def _analyze(self) -> None:
        found, unjudged = self.mesh.findings(visible.Choice())
        show.print_findings(found)
        ps_cluster.notes((), unjudged)

    def _why(self, name: str) -> str:
        def show() -> None:
            try:
                printed.objects(self.mesh.why(name), reads=False)
            except explain.Unknown as error:
                print(error)

        return f"--- {name}\n{_printed(show)}"


def _seen(folder: pathlib.Path) -> scope.Seen:
    file = folder / "scope.yaml"
    told = yaml.safe_load(file.read_text()) if file.exists() else {}
    namespace, refused = told.get("namespace"), told.get("refused", ())
    reads = {read.kind: read for read in kinds.mesh()}
    listed = listing.Listed()
    for value in yaml.safe_load_all((folder / "in.yaml").read_text()):
        read = reads[value["kind"]]
        body = msgspec.json.encode(value)
        raw = decoding.single(body)
        one = decoding.decode(read, raw)
        hidden = read.kind in refused or (namespace and raw.head.namespace not in ("", namespace))
        if one.value is not None and not hidden:
            listed += listing.Listed((one.value,), one.found)
    given: Any = tuple(
        msgspec.structs.replace(read, namespace=namespace) if namespace else read
        for read in reads.values()
        if read.kind not in refused
    )
    lacking = (f"list pods in all namespaces, {', '.join(refused)}",) if namespace else ()
    return scope.Seen(listed, scope.Scope(given, namespace or "", lacking=lacking))


def _printed(work: Any) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        work()
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
