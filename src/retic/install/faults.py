"""How an installation fails: with a message that says what, why, and what to do."""

from retic.sources.api import ApiError


class InstallError(Exception):
    """It cannot be done; the message is for the user."""


def refused(about: str, error: ApiError) -> InstallError:
    """The API server's no to an object, in the user's words. `about` names the object."""
    if error.status == 403:
        return InstallError(
            f"{about}: you may not do this ({error.message}); installing needs a cluster administrator's rights: "
            "retic check --pre lists which are missing"
        )
    if error.status == 409 and "conflict" in error.message:
        return InstallError(
            f"{about}: somebody else has set a field that Retic sets ({_flat(error.message)}); undo that change, or "
            "take the field back with --force-conflicts"
        )
    if error.status == 422:
        return InstallError(f"{about}: the API server does not accept it: {_flat(error.message)}")
    return InstallError(f"{about}: {error}")


def _flat(text: str) -> str:
    return " ".join(text.split())
