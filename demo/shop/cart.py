"""The cart, over gRPC: service shop.v1.Cart with Add and List. Messages are JSON; no protos are compiled."""

import concurrent.futures
import json
import os
import threading
from collections import Counter

import grpc

from shop import serving

SERVICE = "shop.v1.Cart"
SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse: status SERVING


class Cart:
    """One cart for everybody: this is a demo."""

    def __init__(self) -> None:
        self._items: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, request: bytes, call: grpc.ServicerContext) -> bytes:
        item = json.loads(request).get("item", "")
        if not item:
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, "an item has a name")
        with self._lock:
            self._items[item] += 1
        print(f"{call.peer()} Add {item}", flush=True)
        return self.list(b"", call)

    def list(self, _request: bytes, call: grpc.ServicerContext) -> bytes:
        seen = dict(call.invocation_metadata())
        with self._lock:
            items = dict(self._items)
        return json.dumps({"items": items, "route": seen.get("x-shop-route", "none")}).encode()


def main() -> None:
    """Serve on $PORT."""
    serving.end_at_sigterm()
    cart = Cart()
    unary = grpc.unary_unary_rpc_method_handler
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, {"Add": unary(cart.add), "List": unary(cart.list)}),
            grpc.method_handlers_generic_handler(
                "grpc.health.v1.Health", {"Check": unary(lambda _request, _call: SERVING)}
            ),
        )
    )
    port = os.environ.get("PORT", "9000")
    server.add_insecure_port(f"0.0.0.0:{port}")
    server.start()
    print(f"listening on {port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    serving.main_of(main)
