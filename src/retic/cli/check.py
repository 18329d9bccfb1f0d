"""`retic check`: what was found, section by section, with what to do about it."""

import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING

from retic.cli import cluster, show

if TYPE_CHECKING:
    from retic.install.checks import running
    from retic.sources.api import Api


def run(target: cluster.Target, *, pre: bool, as_json: bool) -> int:
    """Print the results; 1 when one of them is an error, else 0. Raises Failure when no cluster is named."""
    from retic.install.checks import catalogue, running
    from retic.install.checks import cluster as clusters

    async def work(api: "Api") -> "list[running.Result]":
        asked = clusters.Cluster(api, datetime.datetime.now(datetime.UTC))
        found, section = [], ""
        async for result in running.run(asked, pre=pre):
            found.append(result)
            if not as_json:
                section = _print(result, section)
        return found

    results = cluster.run(target, work)
    if as_json:
        show.json(results)
    else:
        print(_sum(results))
    return int(any(not one.ok and one.severity is catalogue.Severity.ERROR for one in results))


def _print(result: "running.Result", section: str) -> str:
    """One line, more where something is to be done; the section's name before its first. Returns the section."""
    from retic.install.checks import catalogue

    if result.section != section:
        print(f"{chr(10) if section else ''}{result.section}")
    said = bool(result.url)
    mark = ("i" if said else "✓") if result.ok else "!" if _warns(result) else "\N{MULTIPLICATION SIGN}"
    claim = catalogue.CHECKS[result.check].claim if said else result.message
    print(f"  {mark} {claim}", flush=True)
    for line in (result.message, result.hint, result.url) if said else ():
        if line:
            print(f"      {line}")
    return result.section


def _warns(result: "running.Result") -> bool:
    return result.severity.value != "error"


def _sum(results: "Iterable[running.Result]") -> str:
    wrong = [one for one in results if not one.ok]
    errors = sum(not _warns(one) for one in wrong)
    warnings = len(wrong) - errors
    if not wrong:
        return "\nall is well"
    return f"\n{_count(errors, 'error')}, {_count(warnings, 'warning')}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
