"""From which version to which an upgrade may go.

The controller and the agents of two versions work together while nodes are replaced one by one; that is
promised for neighbouring minor versions only.
"""

import re

from retic.install import faults

_FORM = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def may(installed: str, wanted: str) -> None:
    """InstallError when this step must not be taken."""
    old, new = _parsed(installed), _parsed(wanted)
    if old is None or new is None or old == new:
        return
    if new < old and new[:2] != old[:2]:
        raise faults.InstallError(
            f"Retic {installed} is installed, and this is the older {wanted}: a step back over a minor version is not "
            f"supported; use retic {installed}, or uninstall it first"
        )
    if new[0] != old[0] and not (new[0] == old[0] + 1 and new[1] == 0):
        raise faults.InstallError(_skipped(installed, wanted, f"{old[0] + 1}.0"))
    if new[0] == old[0] and new[1] > old[1] + 1:
        raise faults.InstallError(_skipped(installed, wanted, f"{old[0]}.{old[1] + 1}"))


def _skipped(installed: str, wanted: str, between: str) -> str:
    return (
        f"Retic {installed} is installed, and {wanted} is more than one minor version later: agents of both could not "
        f"work with one controller; upgrade to {between} first"
    )


def _parsed(version: str) -> tuple[int, int, int] | None:
    found = _FORM.match(version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
