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
    What a file no longer has goes. Findings say what stayed.
    """
    present = {located.ref for located in new.objects}
    broken = frozenset(new.broken)
    whole = tuple(PurePath(each.file) for each in broken if each.object is None)
    kept = tuple(
        located
        for located in previous.objects
        if located.ref not in present and _is_broken(located, broken, whole)
    )
    if not kept:
        return new
    names = {(located.position.file, str(located.ref)) for located in kept}
    files = {located.position.file for located in kept}
    found = tuple(_say(each, names, files) for each in new.findings)
    return model.Loaded((*new.objects, *kept), found, new.broken)


def _is_broken(
    located: model.Located, broken: frozenset[model.Broken], whole: Iterable[PurePath]
) -> bool:
    file = located.position.file
    return model.Broken(file, located.ref) in broken or any(PurePath(file).is_relative_to(path) for path in whole)


def _say(each: findings.Finding, names: set[tuple[str, str]], files: set[str]) -> findings.Finding:
    message = each.message
    if message.endswith(model.LEFT_OUT) and (each.file, each.object) in names:
        message = message.removesuffix(model.LEFT_OUT) + model.LAST_GOOD
    elif message.endswith(model.NOT_READ_ON) and each.file in files:
        message = message.removesuffix(model.NOT_READ_ON) + model.LAST_HELD
    elif each.code == "RT0009" and any(PurePath(file).is_relative_to(each.file) for file in files):
        message += model.LAST_HELD
    return msgspec.structs.replace(each, message=message)
