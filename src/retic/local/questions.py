"""How many questions a pod may ask the cluster's DNS: bounded by the kernel, per asker, in the node's namespace.

One socket per node takes the questions of all its pods. Without a bound, one pod that asks faster than anybody
can answer fills that socket's queue, and its neighbours' questions are lost. Too much is dropped without a
word, as a network would; resolvers ask again.
"""

from retic.local.sandbox import addresses
from retic.node import inside, redirect

PER_SECOND, BURST = 1000, 2000
_MOST_ASKERS = 65536
_TOO_MANY = f"update @askers {{ ip saddr limit rate over {PER_SECOND}/second burst {BURST} packets }}"
_RULES = f"""
add table ip retic_questions
delete table ip retic_questions
table ip retic_questions {{
  set askers {{ type ipv4_addr; size {_MOST_ASKERS}; flags dynamic, timeout; timeout 1m; }}
  chain input {{
    type filter hook input priority 0
    ip daddr {addresses.DNS} udp dport 53 {_TOO_MANY} drop
  }}
}}
"""


def bound(netns: str) -> None:
    """Bound them in the namespace at the path; again is the same as once. redirect.RedirectionError when nft is not
    there or refuses."""
    inside.network_namespace(netns, lambda: redirect.load(_RULES))
