"""`retic why`: from an xDS resource to the lines it was made from."""

import msgspec

from retic.cli import running, show
from retic.control import model
from retic.explain import why as explained


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
    for one in written:
        print(f"{show.near(one.file)}:{one.line}: {one.object}{_absent(one)}", flush=True)
    for one in rest:
        print(f"{one.object}{_absent(one) or ' (made by the mesh, in no file)'}", flush=True)
    if not answer.sources:
        print("made from no object: it is the same in every mesh", flush=True)
    if reads:
        print(flush=True)
        _print(answer.reads, 0)


def _absent(one: explained.Source) -> str:
    return "" if one.present else " (does not exist, and that counts)"


def _print(step: explained.Step, depth: int) -> None:
    again = " (as above)" if step.repeated else ""
    print(f"{'  ' * depth}{step.kind} {step.name} {step.key}{again}", flush=True)
    for child in step.children:
        _print(child, depth + 1)
