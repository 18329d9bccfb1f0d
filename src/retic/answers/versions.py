"""Which versions run on a cluster: the installation's, the agents', the Envoys'."""

import datetime

import msgspec

from retic.install import faults, nodes, record
from retic.install.checks import cluster as clusters
from retic.sources.api import Api, ApiError


class Found(msgspec.Struct, frozen=True):
    """In words, and the Envoys' versions, each once."""

    text: str
    envoys: tuple[str, ...] = ()


async def of(api: Api) -> Found:
    """What the installation's record and its nodes' reports say. Error when the server cannot be asked."""
    try:
        installed = await clusters.Cluster(api, datetime.datetime.now(datetime.UTC)).installed()
    except faults.InstallError as error:
        return Found(str(error))
    except ApiError as error:
        return Found(str(error))
    if installed is None:
        return Found("Retic is not installed")
    text = f"retic {installed.version}"
    if installed.state is not record.State.INSTALLED:
        text += f" ({installed.state.value})"
    try:
        reports = (await nodes.read(api)).values()
    except ApiError:
        return Found(text)
    agents = sorted({one.retic for one in reports if one.retic})
    if reports:
        count = f"{len(reports)} node{'' if len(reports) == 1 else 's'}"
        text += f", agents {', '.join(agents) or 'silent'} on {count}"
    return Found(text, tuple(sorted({one.envoy for one in reports if one.envoy})))
