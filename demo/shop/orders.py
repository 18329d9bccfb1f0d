"""Orders: puts an item into the cart (gRPC) and has it paid (HTTP), with the key that payments wants."""

import json
import os

import grpc

from shop import serving

PAYMENTS = os.environ.get("PAYMENTS_URL", "http://payments")
KEY = os.environ.get("PAYMENTS_KEY", "")
CHANNEL = grpc.insecure_channel(os.environ.get("CART_ADDRESS", "cart:9000"))


def cart(method: str, **message: str) -> dict[str, object]:
    """Call the cart; raises serving.ServiceError."""
    call = CHANNEL.unary_unary(f"/shop.v1.Cart/{method}")
    try:
        answer: dict[str, object] = json.loads(call(json.dumps(message).encode(), timeout=serving.PATIENCE))
    except grpc.RpcError as error:
        raise serving.ServiceError(502, f"cart: {error.code().name}: {error.details()}") from None
    return answer


def order(_request: serving.Handler, body: bytes) -> dict[str, object]:
    """Order one item: {"item": NAME}."""
    item = json.loads(body or b"{}").get("item", "apple")
    paid, _ = serving.ask(f"{PAYMENTS}/pay", headers={"authorization": f"Bearer {KEY}"}, data={"item": item})
    return {"cart": cart("Add", item=item), "paid": paid}


def summary(_request: serving.Handler, _body: bytes) -> dict[str, object]:
    """What is in the cart."""
    return {"cart": cart("List")}


if __name__ == "__main__":
    serving.main_of(lambda: serving.serve({"POST /orders": order, "GET /summary": summary}))
