"""`retic why`: from an xDS resource to the lines it was made from."""

from collections.abc import Iterator, Sequence

import msgspec

from retic.cli import running, show
from retic.control import model
from retic.explain import why as explained

_SHOWN = 8  # made objects in one line


def run(resource: str, *, name: str, as_json: bool, reads: bool) -> None:
    """Print it. Raises Failure, also for a name that is no resource's."""
    raw = running.ask(running.folder(name), model.AskWhy(resource=resource))
    if as_json:
        show.json(raw)
        return
    answer = msgspec.convert(raw, explained.Why)
    if not answer.exists:
        print(f"{answer.resource} does not exist; what decided that:", flush=True)
    written = [one for one in answer.sources if one.file]
    rest = [one for one in answer.sources if not one.file]
    for line in _lines(written):
        print(line, flush=True)
    for one in rest:
        print(f"{one.object}{_absent(one) or ' (made by the mesh, in no file)'}", flush=True)
    if not answer.sources:
        print("made from no object: it is the same in every mesh", flush=True)
    if reads:
        print(flush=True)
        _print(answer.reads, 0)


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
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        of = f", of which the mesh made {', '.join(names[:_SHOWN])}{more}" if names else ""
        yield f"{show.near(file)}:{line}: {name}{absent}{of}"


def _absent(one: explained.Source) -> str:
    return "" if one.present else " (does not exist, and that counts)"


def _print(step: explained.Step, depth: int) -> None:
    again = " (as above)" if step.repeated else ""
    print(f"{'  ' * depth}{step.kind} {step.name} {step.key}{again}", flush=True)
    for child in step.children:
        _print(child, depth + 1)
