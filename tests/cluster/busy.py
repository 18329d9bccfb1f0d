"""A client in one namespace and servers in another, both in the mesh: what loads run through."""

import contextlib
from collections.abc import Iterator

from tests.cluster import agents, installed, kubectl, loads

from retic.testing import wait


class Shop:
    """A client in one namespace and servers in another, both in the mesh."""

    def __init__(self, mesh: installed.Installed, front: kubectl.Kubectl, back: kubectl.Kubectl) -> None:
        self.mesh = mesh
        self.front, self.back = front, back
        self.system = mesh.kubectl()
        self.agents = agents.Agents(self.system)
        addresses = {name: back.get("service", name)["spec"]["clusterIP"] for name in ("server", "steady")}
        self.kinds = loads.kinds(addresses["server"], addresses["steady"])

    def load(self, *, least: float = 20, without: str = "") -> contextlib.AbstractContextManager[loads.Loads]:
        """Loads of every kind during the block, from which nothing may be lost."""
        chosen = {name: words for name, words in self.kinds.items() if name != without}
        return loads.running(self.front, chosen, least=least)

    def captured(self, spaces: "list[kubectl.Kubectl]", wanted: str = "True") -> None:
        """Wait until the status of every pod there says so."""

        def said() -> bool:
            pods = [
                pod for space in spaces for pod in space.get("pods", "--field-selector=status.phase=Running")["items"]
            ]
            return all(_captured(pod) == wanted for pod in pods if "deletionTimestamp" not in pod["metadata"])

        wait.until(said, f"retic.dev/Captured is {wanted}", 110, every=0.5)


def _captured(pod: dict) -> str:
    conditions = pod["status"].get("conditions", ())
    return next((each["status"] for each in conditions if each["type"] == "retic.dev/Captured"), "False")


def node_names(kube: kubectl.Kubectl) -> list[str]:
    return sorted(item["metadata"]["name"] for item in kube.get("nodes")["items"])


@contextlib.contextmanager
def opened(mesh: installed.Installed) -> Iterator[Shop]:
    """A shop whose pods run and are captured."""
    loads.bring()
    with mesh.namespace() as front, mesh.namespace() as back:
        nodes = node_names(back)
        front.apply(loads.client(nodes[0]))
        back.apply(*loads.servers("server"), *loads.servers("steady", replicas=1))
        for name in ("server", "steady"):
            back.rolled(f"deployment/{name}")
        front.ready("client")
        made = Shop(mesh, front, back)
        made.captured([front, back])
        yield made
