"""What is on the shelves, over plain TCP: a line with a name is answered by a line with a number."""

import os
import socketserver
import zlib

from shop import serving


class Lines(socketserver.StreamRequestHandler):
    """One connection: any number of questions."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            name = line.strip()
            self.wfile.write(b"%d\n" % (zlib.crc32(name) % 90 + 10))


class Server(socketserver.ThreadingTCPServer):
    """A thread a connection; none of them outlives the process."""

    allow_reuse_address = True
    daemon_threads = True


def main() -> None:
    """Serve on $PORT."""
    serving.end_at_sigterm()
    port = int(os.environ.get("PORT", "7000"))
    print(f"listening on {port}", flush=True)
    with Server(("", port), Lines) as server:
        server.serve_forever()


if __name__ == "__main__":
    serving.main_of(main)
