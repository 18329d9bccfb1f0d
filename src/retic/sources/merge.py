"""The last good state: what stays when an edit breaks a file. Pure."""

from collections.abc import Iterable
from pathlib import PurePath

import msgspec

from retic import findings
from retic.sources import model


def merge(previous: model.Loaded, new: model.Loaded) -> model.Loaded:
    """`new`, with the objects of `previous` that are broken now rather than removed, as they were.

    An object stays when its file has it with faults of form, or has something that nobody can tell the name
    of (a syntax error, a document without a name), or when its file or a folder that it is in cannot be read.
    What a file no longer has goes. A policy of which a part cannot be read now stays too, if all of it could be read
    before. Findings say what stayed.
    """
    present = {located.ref: located for located in new.objects}
    broken = frozenset(new.broken)
    whole = tuple(PurePath(each.file) for each in broken if each.object is None)
    kept = tuple(
        located
        for located in previous.objects
        if _is_broken(located, broken, whole) and _is_better(located, present.get(located.ref))
    )
    if not kept:
        return new
    names = {(located.position.file, str(located.ref)) for located in kept}
    files = {located.position.file for located in kept}
    found = tuple(_say(each, names, files) for each in new.findings)
    refs = {located.ref for located in kept}
    return model.Loaded((*(each for each in new.objects if each.ref not in refs), *kept), found, new.broken)


def _is_better(before: model.Located, now: model.Located | None) -> bool:
    """Whether what was there goes before what is: also before a policy that can be read in part only."""
    return now is None or (now.is_closed and not before.is_closed)


def _is_broken(
    located: model.Located, broken: frozenset[model.Broken], whole: Iterable[PurePath]
) -> bool:
    file = located.position.file
    return model.Broken(file, located.ref) in broken or any(PurePath(file).is_relative_to(path) for path in whole)


def _say(each: findings.Finding, names: set[tuple[str, str]], files: set[str]) -> findings.Finding:
    message = each.message
    if (each.file, each.object) in names and (kept := model.kept(each)) is not each:
        return kept
    if message.endswith(model.NOT_READ_ON) and each.file in files:
        message = message.removesuffix(model.NOT_READ_ON) + model.LAST_HELD
    elif each.code == "RT0009" and any(PurePath(file).is_relative_to(each.file) for file in files):
        message += model.LAST_HELD
    return msgspec.structs.replace(each, message=message)
