"""The word that somebody probably meant."""

import difflib
from collections.abc import Iterable


def word(given: str, choices: Iterable[str]) -> str | None:
    """The choice nearest to `given`, whatever the case of letters; None when nothing is near."""
    by_lower = {each.lower(): each for each in sorted(choices)}
    found = difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=0.72)
    if not found:  # two letters that changed places are far apart in a short word
        found = [each for each in by_lower if sorted(each) == sorted(given.lower())]
    return by_lower[found[0]] if found else None
