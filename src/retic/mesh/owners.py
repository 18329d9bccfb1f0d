"""What a pod belongs to, by its name: the Deployment, StatefulSet, DaemonSet or Job that it is one pod of.

It stands in the pod's listeners, which never change, so it is taken from what never changes: a pod's owners and labels
do, for instance when somebody takes a pod out of its Deployment to look at it.
"""

import re

_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery/pkg/util/rand
# A template's hash, 32 bits written in decimal and then in safe letters; one of fewer than seven digits is one in 400.
_TEMPLATE = re.compile(rf"-[{_SAFE}]{{7,10}}$")
_SCHEDULED = re.compile(r"-\d{8,10}$")  # a CronJob's Job: minutes, or seconds, since 1970


def workload(name: str, generate_name: str | None) -> str:
    """The name without what its controllers added; the pod's own name when it was made by itself."""
    if not generate_name:
        return name
    base = generate_name.removesuffix("-")
    for added in (_TEMPLATE, _SCHEDULED):
        found = added.search(base)
        if found and found.start():
            return base[: found.start()]
    return base or name
