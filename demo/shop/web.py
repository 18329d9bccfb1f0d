"""The front: one page that shows what every other service answered, and how long that took.

/ is the page, /api the same as JSON, POST /buy?item=NAME orders. A request's x-preview header is passed on
to the catalog, so that a route can send it to another version.
"""

import concurrent.futures
import html
import os
import socket
import time
import urllib.parse
from collections.abc import Callable, Mapping

from shop import serving

TITLE = os.environ.get("SHOP_TITLE", "Shop")
CATALOG = os.environ.get("CATALOG_URL", "http://catalog")
ORDERS = os.environ.get("ORDERS_URL", "http://orders")
STOCK = os.environ.get("STOCK_ADDRESS", "stock:7000")
GREETER = os.environ.get("GREETER_ADDRESS", "greeter:7100")
POOL = concurrent.futures.ThreadPoolExecutor(16)

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }}
.bad {{ color: #b00020; }}
</style>
<h1>{title}</h1>
<p>Every line below is a call that this page's server made just now, through the mesh.</p>
<table><tr><th>service</th><th>spoken</th><th>answer</th><th>ms</th></tr>{rows}</table>
<form method="post" action="/buy?item=apple"><p><button>Buy an apple</button></p></form>
</html>
"""


def tcp(address: str, line: str = "") -> str:
    """Connect, say `line` if there is one, and return the first line of the answer."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=serving.PATIENCE) as connection:
        if line:
            connection.sendall(line.encode() + b"\n")
        return connection.makefile("r").readline().strip()


def timed(call: Callable[[], object]) -> dict[str, object]:
    """The answer or the error of a call, and its milliseconds."""
    begin = time.monotonic()
    try:
        said: dict[str, object] = {"answer": call()}
    except (OSError, serving.ServiceError) as error:
        said = {"error": str(error)}
    return {**said, "ms": round((time.monotonic() - begin) * 1000, 1)}


def gather(preview: str) -> Mapping[str, dict[str, object]]:
    """Ask everybody at the same time."""
    headers = {"x-preview": preview} if preview else {}
    calls: dict[str, tuple[str, Callable[[], object]]] = {
        "catalog": ("HTTP", lambda: serving.ask(f"{CATALOG}/items", headers=headers)[0]),
        "orders": ("HTTP, then gRPC", lambda: serving.ask(f"{ORDERS}/summary")[0]),
        "stock": ("TCP", lambda: f"{tcp(STOCK, 'apple')} apples"),
        "greeter": ("TCP, server first", lambda: tcp(GREETER)),
    }
    waiting = {name: POOL.submit(timed, call) for name, (_, call) in calls.items()}
    return {name: {"spoken": calls[name][0], **future.result()} for name, future in waiting.items()}


def api(request: serving.Handler, _body: bytes) -> object:
    return gather(request.headers.get("x-preview", ""))


def page(request: serving.Handler, _body: bytes) -> str:
    rows = []
    for name, said in gather(request.headers.get("x-preview", "")).items():
        bad = " class=bad" if "error" in said else ""
        cells = (name, said["spoken"], said.get("answer", said.get("error")), said["ms"])
        rows.append(f"<tr{bad}>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return PAGE.format(title=html.escape(TITLE), rows="".join(rows))


def buy(request: serving.Handler, _body: bytes) -> object:
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
    return serving.ask(f"{ORDERS}/orders", data={"item": query.get("item", ["apple"])[0]})[0]


if __name__ == "__main__":
    serving.main_of(lambda: serving.serve({"GET /": page, "GET /api": api, "POST /buy": buy}))
