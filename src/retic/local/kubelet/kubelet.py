"""The kubelet of all nodes of a mesh: keeps the pods that run the same as the pods that should.

Decides nothing about which pods there are. `sync` is called after each change of the world; it starts what
is new, ends what was told to end, and touches nothing else.
"""

import asyncio
from collections.abc import Callable, Iterable

from retic.local.kubelet import host, pod
from retic.local.workloads import pods
from retic.objects import pods as structs


class Kubelet:
    """Runs pods."""

    def __init__(self, given: host.Host, gone: Callable[[structs.Pod], None]) -> None:
        """`gone(pod)` is called when nothing is left of a pod that was told to end."""
        self._host, self._gone = given, gone
        self._runners: dict[str, pod.Runner] = {}

    @property
    def runners(self) -> list[pod.Runner]:
        """The pods that have, or had, something running."""
        return list(self._runners.values())

    def unready(self, value: structs.Pod) -> dict[str, str]:
        """Why containers of a pod that run are not ready, by their names."""
        runner = self._runners.get(value.metadata.uid or "")
        return runner.unready if runner is not None else {}

    def sync(self, wanted: Iterable[structs.Pod]) -> None:
        """Make what runs equal to `wanted`: bound pods are started, ending ones ended."""
        uids = set()
        for value in wanted:
            uid = value.metadata.uid or ""
            uids.add(uid)
            runner = self._runners.get(uid)
            if runner is None:
                if value.spec.node_name is None or not value.status.pod_ip:
                    continue
                if pods.ending(value):
                    asyncio.get_running_loop().call_soon(self._gone, value)
                    continue
                runner = self._runners[uid] = pod.Runner(self._host, value, self._left)
            runner.refresh(value)
            if pods.ending(value):
                runner.end()
        for uid in self._runners.keys() - uids:
            self._runners[uid].end()

    def _left(self, value: structs.Pod) -> None:
        self._runners.pop(value.metadata.uid or "", None)
        self._gone(value)

    async def close(self) -> None:
        """End every pod, each within its grace period."""
        runners = self.runners
        for runner in runners:
            runner.end()
        await asyncio.gather(*(runner.ended() for runner in runners))
