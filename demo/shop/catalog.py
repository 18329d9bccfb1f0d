"""What the shop sells. Two versions run side by side: v2 has prices in cents and one more item."""

import os

from shop import serving

VERSION = os.environ.get("VERSION", "v1")
ITEMS = {"apple": 1.2, "bread": 3.5, "cheese": 5.9}


def items(request: serving.Handler, _body: bytes) -> dict[str, object]:
    """The list, with who asked: in a mesh that keeps addresses, the caller's own."""
    if VERSION == "v1":
        listed: dict[str, object] = dict(ITEMS)
    else:
        listed = {name: {"cents": round(price * 100)} for name, price in (*ITEMS.items(), ("dates", 4.4))}
    return {"version": VERSION, "items": listed, "asked_by": request.client_address[0]}


if __name__ == "__main__":
    serving.main_of(lambda: serving.serve({"GET /items": items}))
