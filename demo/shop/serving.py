"""HTTP for the shop's services: a server that answers JSON, and a client that says what went wrong."""

import http.server
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

Handler = http.server.BaseHTTPRequestHandler
Route = Callable[[Handler, bytes], Any]
PATIENCE = 3.0  # seconds


class ServiceError(Exception):
    """Raised by a route to answer with another status than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def end_at_sigterm() -> None:
    """End at once and successfully when told to."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def serve(routes: Mapping[str, Route], port: int = 0) -> None:
    """Serve `routes`, by "METHOD /path", on $PORT until SIGTERM. A str is sent as HTML, all else as JSON."""
    end_at_sigterm()
    wanted = port or int(os.environ.get("PORT", "8080"))

    class One(Handler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            path = self.path.partition("?")[0]
            status = 200
            try:
                if path == "/healthz":
                    said: Any = {"ok": True}
                elif route := routes.get(f"{self.command} {path}"):
                    said = route(self, body)
                else:
                    raise ServiceError(404, f"no {self.command} {path} here")
            except ServiceError as error:
                status, said = error.status, {"error": str(error)}
            html = isinstance(said, str)
            data = said.encode() if html else json.dumps(said).encode() + b"\n"
            self.send_response(status)
            self.send_header("content-type", "text/html; charset=utf-8" if html else "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer  # noqa: N815 (names that http.server looks for)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            if self.path != "/healthz":
                print(f"{self.client_address[0]} {self.command} {self.path} {code}", flush=True)

    print(f"listening on {wanted}", flush=True)
    http.server.ThreadingHTTPServer(("", wanted), One).serve_forever()


def ask(
    url: str, *, headers: Mapping[str, str] | None = None, data: Mapping[str, object] | None = None
) -> tuple[Any, Mapping[str, str]]:
    """The JSON and headers that `url` answers with. Raises ServiceError (502) when it does not."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        said = error.read()[:200].decode(errors="replace")
        raise ServiceError(502, f"{url} answered {error.code}: {said}") from None
    except OSError as error:
        raise ServiceError(502, f"{url}: {getattr(error, 'reason', error)}") from None


def main_of(what: Callable[[], None]) -> None:
    """Run a service's main, ending without a traceback at Ctrl-C."""
    try:
        what()
    except KeyboardInterrupt:
        sys.exit(0)
