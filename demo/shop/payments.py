"""Payments: takes everybody's money who has the key. The key is a file, mounted from a Secret."""

import hmac
import itertools
import os
import pathlib

from shop import serving

KEY = pathlib.Path(os.environ.get("KEY_FILE", "/etc/shop/payments-key"))
NUMBERS = itertools.count(1)


def pay(request: serving.Handler, _body: bytes) -> dict[str, object]:
    """A receipt's number, or 401."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), KEY.read_bytes().strip()):
        raise serving.ServiceError(401, "this is not the shop's key")
    return {"receipt": next(NUMBERS)}


if __name__ == "__main__":
    serving.main_of(lambda: serving.serve({"POST /pay": pay}))
