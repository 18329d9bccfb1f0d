"""The greeter, a TCP server that speaks first, as mail servers and some databases do."""

import os
import socketserver

from shop import serving, stock

WORDS = os.environ.get("GREETING", "welcome")


class Greeting(socketserver.StreamRequestHandler):
    """Says its line before the client has said anything, and closes."""

    def handle(self) -> None:
        self.wfile.write(f"{WORDS}, {self.client_address[0]}\n".encode())


def main() -> None:
    """Serve on $PORT."""
    serving.end_at_sigterm()
    port = int(os.environ.get("PORT", "7100"))
    print(f"listening on {port}", flush=True)
    with stock.Server(("", port), Greeting) as server:
        server.serve_forever()


if __name__ == "__main__":
    serving.main_of(main)
