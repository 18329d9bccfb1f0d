"""Where `retic up` is told that global rate limits are counted, checked before anything starts. No password passes."""

import os
import pathlib
import urllib.parse

from retic.cli import failure
from retic.control import config as settings


def checked(redis: str, credentials: pathlib.Path | None) -> settings.Counting:
    """The place, with absolute paths. Raises Failure when it cannot be used."""
    from retic.counting import place

    if not redis:
        if credentials is not None:
            raise failure.Failure("--redis-credentials are those of --redis: give the address too", code=2)
        return settings.Counting()
    file = os.path.abspath(credentials) if credentials is not None else ""
    if credentials is not None and not credentials.exists():
        raise failure.Failure(f"{credentials}: no such file or folder", code=2)
    try:
        place.read(redis, file)
    except place.PlaceError as error:
        raise failure.Failure(f"--redis: {error}" if not file else str(error), code=2) from error
    return settings.Counting(_reachable(redis), file)


def _reachable(url: str) -> str:
    """The control plane is in the mesh's network, where 127.0.0.1 is nobody's."""
    host = urllib.parse.urlsplit(url).hostname or ""
    if host == "localhost" or host.startswith("127."):
        raise failure.Failure(
            f"--redis {url}: a mesh has a network of its own, in which {host} is not this machine; let Redis listen on "
            "a socket (unixsocket /PATH in redis.conf) and write --redis unix:///PATH, or name a Redis in the mesh",
            code=2,
        )
    return url
