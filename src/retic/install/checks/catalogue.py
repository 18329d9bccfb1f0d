"""Every check: its section, what it claims, how grave it is when that is not so, and what to do.

docs/checks.md is made from this table. An id never changes its meaning.
"""

import enum

import msgspec

from retic.install import names


class Severity(enum.StrEnum):
    """An error fails `retic check`; a warning does not; information is no failure at all."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Check(msgspec.Struct, frozen=True):
    """One check. `claim` is what holds when it passes, `hint` what to do when not, `why` why it matters."""

    id: str
    section: str
    claim: str
    severity: Severity
    hint: str
    why: str
    pre: bool = False

    @property
    def url(self) -> str:
        """Where it is explained."""
        return f"{names.CHECKS_URL}#{self.id}"


CHECKS: dict[str, Check] = {}
_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO


def _add(id_: str, section: str, claim: str, severity: Severity, *, hint: str, why: str, pre: bool = False) -> None:
    CHECKS[id_] = Check(id_, section, claim, severity, hint, why, pre)


_S = "Kubernetes API"
_add("api-reachable", _S, "the API server answers", _E, pre=True,
     hint="see whether kubectl get namespaces works with the same --kubeconfig and --context",
     why="Everything else is asked there.")  # fmt: skip
_add("api-version", _S, "Kubernetes is 1.30 or newer", _E, pre=True,
     hint="upgrade the cluster",
     why="Older API servers lack what the installation uses: fields of security contexts, and server-side apply of "
         "them.")  # fmt: skip
_add("clock-skew", _S, "this machine's and the API server's clocks agree within 10 s", _W, pre=True,
     hint="let both follow a time server (chrony, systemd-timesyncd)",
     why="Certificates and tokens hold from a time to a time. Clocks that differ make new ones invalid.")  # fmt: skip
_add("rights", _S, "you may install", _E, pre=True,
     hint="use a --context of a cluster administrator, or ask for the rights that are named",
     why="Each right that installing and uninstalling takes is asked for with a SelfSubjectAccessReview.")  # fmt: skip

_S = "Gateway API"
_add("gateway-api-present", _S, "the CRDs are installed", _W, pre=True,
     hint="install the standard channel (https://gateway-api.sigs.k8s.io/guides/), then run retic upgrade",
     why="Routes and Gateways are kinds of the Gateway API, which a cluster does not have by itself. Without them the "
         "mesh encrypts and identifies, and routes nothing.")  # fmt: skip
_add("gateway-api-version", _S, "the CRDs are of a version that Retic knows", _W, pre=True,
     hint="install a version from v1.1 to v1.6",
     why="Fields of other versions may be missing, or be there and mean nothing to Retic.")  # fmt: skip

_S = "Cluster"
_add("nodes-supported", _S, "every node is Linux on x86_64 or aarch64 with kernel 5.4 or newer", _E, pre=True,
     hint="keep pods of the mesh off the nodes that are named, or replace those nodes",
     why="Envoy is built for these; redirection needs nftables and socket marks in network namespaces.")  # fmt: skip
_add("pod-networks", _S, "the pods' networks are known", _E, pre=True,
     hint="state them: --set podNetworks=10.42.0.0/16",
     why="What lies outside the cluster's networks passes through the mesh untouched. They are found from the nodes' "
         "podCIDRs and the pods' addresses; some network plugins fill in neither before pods run.")  # fmt: skip
_add("service-networks", _S, "the Services' networks are known", _E, pre=True,
     hint="state them: --set serviceNetworks=10.43.0.0/16",
     why="They are found from the cluster's ServiceCIDRs, which Kubernetes has since 1.33.")  # fmt: skip
_add("cilium-socket-lb", _S, "no load balancer on sockets hides the Services' addresses", _E, pre=True,
     hint="set socketLB.hostNamespaceOnly=true in Cilium's values",
     why="Cilium can translate a Service's address when a pod calls connect(). The proxy then never sees which Service "
         "was meant, and routes do not apply.")  # fmt: skip

_S = "Installation"
_add("installed", _S, "Retic is installed", _E,
     hint="run retic install; after an interruption too",
     why="The record of the installation says that everything was applied.")  # fmt: skip
_add("same-version", _S, "this command and the installation are of one version", _W,
     hint="run retic upgrade, or use the command of the installed version",
     why="A command of another version may ask for what the controller does not know.")  # fmt: skip
_add("objects", _S, "everything that was installed is there", _E,
     hint="run retic upgrade: it makes anew what is missing",
     why="Somebody may have deleted a part.")  # fmt: skip

_S = "Controller"
_add("controller-ready", _S, "every replica of the controller is ready", _E,
     hint="see kubectl describe pods -n retic-system, and kubectl logs -n retic-system deploy/retic-controller",
     why="Without any, traffic in use goes on, and nothing changes any more.")  # fmt: skip
_add("leader", _S, "one replica leads", _E,
     hint="see kubectl logs -n retic-system deploy/retic-controller for why none takes the Lease",
     why="The leader writes statuses and makes the gateways' Deployments.")  # fmt: skip

_S = "Certificates"
_add("ca-valid", _S, "the certificate authority is there and holds", _E,
     hint="see kubectl logs -n retic-system deploy/retic-controller; of your own Secret retic-ca, renew it",
     why="It signs the identity of every pod and every agent.")  # fmt: skip
_add("ca-ends", _S, "the certificate authority holds for 30 days more", _W,
     hint="rotate the root before then",
     why="When it ends, all connections in the mesh fail.")  # fmt: skip
_add("root-published", _S, "agents are given the root that signs", _E,
     hint="see kubectl logs -n retic-system deploy/retic-controller: the leader writes ConfigMap retic-root",
     why="Agents trust what ConfigMap retic-root holds. With another root there they cannot reach the controller.",
     )  # fmt: skip
_add("webhook-ca", _S, "the API server trusts the webhook", _W,
     hint="see kubectl logs -n retic-system deploy/retic-controller: it fills in the webhook's caBundle",
     why="Otherwise faults in routes and Gateways show in their status only, not when they are applied.")  # fmt: skip

_S = "Nodes"
_add("agents-ready", _S, "every node's agent is ready", _E,
     hint="see kubectl get pods -n retic-system -o wide, and the logs of those that are not ready",
     why="Where the agent is away, new pods wait and running ones go on.")  # fmt: skip
_add("agents-reported", _S, "every agent has reached the controller", _W,
     hint="see kubectl logs -n retic-system ds/retic-node, and whether a NetworkPolicy or firewall keeps nodes from "
          "the controller's ports 15010 and 15011",
     why="An agent gets everything it knows from the controller.")  # fmt: skip
_add("agent-versions", _S, "all agents are of the installed version", _W,
     hint="wait for the DaemonSet to roll out: kubectl rollout status -n retic-system ds/retic-node",
     why="Agents of the neighbouring minor version work, but not for good.")  # fmt: skip
_add("envoy-versions", _S, "all Envoys are of one version", _W,
     hint="wait for the DaemonSet to roll out: kubectl rollout status -n retic-system ds/retic-node",
     why="Retic is tested with the Envoy in its image.")  # fmt: skip
_add("cni-chain", _S, "the plugin is in every node's chain", _E,
     hint="see whether cni.confFolder and cni.binFolder are the folders that your container runtime uses",
     why="The plugin holds a new pod until its listeners are up. Without it a pod would start outside the mesh.",
     )  # fmt: skip
_add("kernel-features", _S, "every node's kernel has what redirection needs", _E,
     hint="load the modules that are named (nf_tables, nft_redir, nft_ct), or enable them in the kernel",
     why="The rules inside the pods' namespaces use them.")  # fmt: skip

_S = "Pods"
_add("captured", _S, "every enrolled pod that runs is captured", _W,
     hint="see kubectl logs -n retic-system of the agent on the pod's node",
     why="A pod of an enrolled namespace that is not captured speaks plaintext.")  # fmt: skip
_add("left-out", _S, "pods of enrolled namespaces that are left out", _I,
     hint="",
     why="Pods on the host's network and pods with the label retic.dev/mesh=disabled are in no mesh. A Gateway's pods "
         "are proxies themselves.")  # fmt: skip
_add("plaintext", _S, "connections that are older than their pod's enrolment", _I,
     hint="restart the pods to have them encrypted",
     why="Enrolling a running pod leaves its open connections as they are.")  # fmt: skip
_add("strict", _S, "pods at which STRICT would refuse requests or connections", _I,
     hint="they come in plaintext: from pods that are left out, the hosts' network, NodePorts, load balancers, or over "
          "connections older than the mesh; set mode=STRICT when nothing is counted any more that you need",
     why="In the mode PERMISSIVE all of it passes, and is counted as STRICT would judge it, probes that pods declare "
         "not included. The counts begin with the node's agent; agents report every 30 s.")  # fmt: skip
_add("may-bypass", _S, "enrolled pods that could pass by the mesh", _I,
     hint="take the capabilities away, or add a NetworkPolicy",
     why="A container with NET_RAW, NET_ADMIN or all privileges can mark its own packets as the proxy's. What others "
         "send to the mesh is not affected: that is refused where it arrives.")  # fmt: skip
