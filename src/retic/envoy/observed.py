"""What route configurations and slots add for those who want to know more of requests: headers noted, traces begun."""

from collections.abc import Mapping

import msgspec
from envoy.config.core.v3 import extension_pb2
from google.protobuf import any_pb2

from retic.envoy import logs, packing, tracing


class Observed(msgspec.Struct, frozen=True):
    """`headers` are those that are noted. `share` and `shares` are what `tracing.of_routes` wants; below 0 none is
    traced."""

    headers: tuple[str, ...] = ()
    share: float = -1.0
    shares: Mapping[str, float] = {}


NOTHING = Observed()


def by_routes(what: Observed) -> dict[str, any_pb2.Any]:
    """For a route configuration, by the filters' names."""
    made = {logs.NOTING: packing.pack(logs.to_note(what.headers))} if what.headers else {}
    if what.share >= 0 or what.shares:
        made[tracing.NAME] = packing.pack(tracing.of_routes(what.share, what.shares))
    return made


def in_slot(what: Observed) -> list[extension_pb2.TypedExtensionConfig]:
    """To be the first in a slot, of one workload. Neither waits for anything."""
    made = [packing.typed(logs.NOTING, logs.to_note(what.headers))] if what.headers else []
    return [*made, *([packing.typed(tracing.NAME, tracing.of_slot(what.share))] if what.share >= 0 else [])]
