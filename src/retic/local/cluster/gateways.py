"""Gateway pods: an agent with its Envoy in each, and its listeners on the host's 127.0.0.1.

What is reached from the host is what Envoy listens on, whatever the Gateway asks for: a listener without a
usable certificate is not there.
"""

import asyncio
import collections
import contextlib
import hashlib
from collections.abc import Callable
from typing import Any

import structlog

from retic import findings
from retic.local import broker, egress, state
from retic.local.cluster import members
from retic.local.kubelet import host
from retic.local.workloads import gateways
from retic.node import listening
from retic.objects import gateway
from retic.objects import pods as structs

_EVERY = 0.1  # seconds between looks at what is listened on
_AGAIN = 1.0  # seconds between attempts at a host's port that was taken or not allowed
_PATIENCE = 3.0  # seconds that a port of the Gateway may be without its listener: Envoy may be restarting
_PROTOCOLS = ("HTTP", "HTTPS")
log = structlog.get_logger(__name__)


class Gateways:
    """Fulfils `kubelet.host.Guest`. `look` gives the Gateway object that a pod belongs to.

    `news` is called when a gateway is reached at other addresses than before.
    """

    def __init__(
        self,
        own: members.Members,
        ingress: egress.Ingress,
        look: Callable[[findings.Ref], Any | None],
        news: Callable[[], None],
    ) -> None:
        self._members = own
        self._ingress = ingress
        self._look = look
        self._news = news
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # A Gateway that is made anew has a new pod while its old one still ends: there is one agent at a time.
        self._turns: collections.defaultdict[str, asyncio.Lock] = collections.defaultdict(asyncio.Lock)
        self.published: dict[str, dict[int, egress.Published]] = {}
        self.owners: dict[str, findings.Ref] = {}

    async def start(
        self, pod: structs.Pod, sandbox: host.Sandbox, tell: Callable[[bool, str], None]
    ) -> None:
        """Start the agent, once a former pod's has ended, and keep the host's listeners equal to the Gateway's."""
        ref = _owner(pod)
        account = pod.spec.service_account_name or "default"
        name, identity = agent_name(ref), self._members.identity(ref.namespace, account)
        await self._turns[name].acquire()
        try:
            client = f"gateway/{ref.namespace}/{ref.name}"
            await self._members.agent(name, client, "", sandbox.netns_path, (identity,))
        except BaseException:
            self._turns[name].release()
            raise
        uid = pod.metadata.uid or ""
        self.owners[uid] = ref
        self.published[uid] = {}
        self._tasks[uid] = asyncio.create_task(self._follow(uid, pod, sandbox.netns_path, tell), name=f"gateway {ref}")

    async def stop(self, pod: structs.Pod) -> None:
        """Take the listeners away and end the agent."""
        uid = pod.metadata.uid or ""
        task = self._tasks.pop(uid, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for port in self.published.pop(uid, {}):
            await self._ingress.withdraw(pod.status.pod_ip or "", port)
        ref = self.owners.pop(uid, None)
        if ref is not None:
            try:
                await self._members.remove(agent_name(ref))
            finally:
                self._turns[agent_name(ref)].release()

    def status(self) -> list[dict[str, Any]]:
        """Each gateway with its host addresses."""
        return [
            {
                "namespace": ref.namespace,
                "name": ref.name,
                "listeners": [
                    {"port": port, "address": f"127.0.0.1:{where.port}"}
                    for port, where in sorted(self.published.get(uid, {}).items())
                ],
            }
            for uid, ref in sorted(self.owners.items(), key=lambda pair: pair[1])
        ]

    async def _follow(
        self, uid: str, pod: structs.Pod, netns: str, tell: Callable[[bool, str], None]
    ) -> None:
        ip, have = pod.status.pod_ip or "", self.published[uid]
        seen: dict[int, float] = {}
        tried: dict[int, float] = {}
        with listening.opened(netns) as tables:
            while True:
                before = dict(have)
                wanted, now = self._ports(self.owners[uid]), asyncio.get_running_loop().time()
                there = listening.ports(tables) & wanted
                seen.update(dict.fromkeys(there, now))
                for port in [p for p in have if p not in wanted or now - seen[p] > _PATIENCE]:
                    await self._ingress.withdraw(ip, port)
                    del have[port]
                for port in sorted(there):
                    if port not in have or (not have[port].wanted and now - tried[port] > _AGAIN):
                        tried[port] = now
                        await self._publish(ip, port, have)
                if have != before:
                    self._news()
                if have:
                    tell(True, "")
                else:
                    tell(False, "no listener accepts connections yet" if wanted else "the Gateway has no listener")
                await asyncio.sleep(_EVERY)

    async def _publish(self, ip: str, port: int, have: dict[int, egress.Published]) -> None:
        with contextlib.suppress(OSError, broker.LostError):
            have[port] = await self._ingress.publish(ip, port, port)

    def _ports(self, ref: findings.Ref) -> set[int]:
        value = self._look(ref)
        if not isinstance(value, gateway.Gateway):
            return set()
        return {x.port for x in value.spec.listeners if x.protocol in _PROTOCOLS}

    def wrong_ports(self) -> list[tuple[findings.Ref, int, int]]:
        """Gateway, listener's port and the host's port where that is another one."""
        return [
            (self.owners[uid], port, where.port)
            for uid, ports in self.published.items()
            for port, where in ports.items()
            if not where.wanted and uid in self.owners
        ]


def agent_name(ref: findings.Ref) -> str:
    """The agent's folder: gw-NS-NAME where that is short enough for sockets in it and no other Gateway's.

    Otherwise its beginning, an underscore, which no object's name has, and eight digits of a hash.
    """
    plain = f"gw-{ref.namespace}-{ref.name}"
    if "-" not in ref.namespace and len(plain) <= state.LONGEST_AGENT:
        return plain
    digits = hashlib.sha256(f"{ref.namespace}/{ref.name}".encode()).hexdigest()[:8]
    return f"{plain[: state.LONGEST_AGENT - 9]}_{digits}"


def _owner(pod: structs.Pod) -> findings.Ref:
    name = pod.metadata.labels[gateways.LABEL]
    return findings.Ref("Gateway", pod.metadata.namespace, name)

