"""A web server for issuers' keys: `python -m retic.testing.key_server ADDRESS:PORT FOLDER [CERTIFICATE]`.

Each request is answered from a file of FOLDER, made or changed at any time: `NAME.answer`, JSON of `status`, `headers`,
`body`, and `seconds` to wait before it. What has no file is 404. CERTIFICATE is PEM with chain and key: then it is
HTTPS. Prints `serving PORT` once it does, and appends a line to FOLDER/asked for each request.
"""

import http.server
import json
import pathlib
import ssl
import sys
import time
from typing import Any


def write(folder: pathlib.Path, name: str, body: str, *, status: int = 200, seconds: float = 0, **headers: str) -> None:
    """Have `/NAME` answered so from now on; in names of headers `_` stands for `-`."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    made = folder / f".{name}"
    made.write_text(json.dumps({"status": status, "headers": said, "body": body, "seconds": seconds}))
    made.rename(folder / f"{name}.answer")


class _Handler(http.server.BaseHTTPRequestHandler):
    folder: pathlib.Path

    def do_GET(self) -> None:
        with (self.folder / "asked").open("a") as asked:
            asked.write(f"{self.path} {self.headers.get('host')}\n")
        file = self.folder / (self.path.partition("?")[0].strip("/") + ".answer")
        answer: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"status": 404}
        time.sleep(answer.get("seconds", 0))
        body = answer.get("body", "").encode()
        self.send_response(answer["status"])
        for name, value in {"content-length": str(len(body)), **answer.get("headers", {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    """Serve until killed."""
    host, _, port = sys.argv[1].rpartition(":")
    _Handler.folder = pathlib.Path(sys.argv[2])
    server = http.server.ThreadingHTTPServer((host, int(port)), _Handler)
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(f"serving {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
