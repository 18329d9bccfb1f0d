"""Says what it is told to, over the mesh's TLS with a pod's certificate or in plaintext: `attack_client.py FILE`.

FILE is JSON: {"host", "port", "key", "chain", "alpn", "tries": {name: [texts] or {"h2": [[headers], body]}}}; texts are
latin-1, one after the other. Prints by name what came back: the statuses of all answers, and the rest's beginning.
"""

import concurrent.futures
import json
import pathlib
import re
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.exceptions

GIVEN = json.loads(pathlib.Path(sys.argv[1]).read_bytes())


def connect():
    raw = socket.create_connection((GIVEN["host"], GIVEN["port"]), 5)
    raw.settimeout(GIVEN.get("wait", 1.0))
    if not GIVEN.get("chain"):
        return raw
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols([GIVEN.get("alpn", "retic-http")])
    made.load_cert_chain(GIVEN["chain"], GIVEN["key"])
    return made.wrap_socket(raw)


def http1(texts):
    got = b""
    with connect() as sock:
        for text in texts:
            try:
                sock.sendall(text.encode("latin-1"))
                while piece := sock.recv(65536):
                    got += piece
                    if len(texts) > 1 and b"\r\n\r\n" in got:
                        break
            except (TimeoutError, OSError):
                continue
    found = re.findall(rb"HTTP/1\.[01] (\d{3})", got)
    return [int(status) for status in found] or got[:60].decode("latin-1")


def http2(headers, body):
    config = h2.config.H2Configuration(
        client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False,
        header_encoding=None, validate_inbound_headers=False,
    )  # fmt: skip
    made = h2.connection.H2Connection(config)
    made.initiate_connection()
    found = []
    with connect() as sock:
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        made.send_headers(1, pairs, end_stream=not body)
        if body:
            made.send_data(1, body.encode("latin-1"), end_stream=True)
        sock.sendall(made.data_to_send())
        try:
            while piece := sock.recv(65536):
                for event in made.receive_data(piece):
                    if isinstance(event, h2.events.ResponseReceived):
                        found.append(int(dict(event.headers)[b":status"]))
                    if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                        return [*found, type(event).__name__]
                    if isinstance(event, h2.events.StreamEnded):
                        return found
                sock.sendall(made.data_to_send())
        except (OSError, h2.exceptions.ProtocolError):
            pass
    return found


def one(tried):
    try:
        return http2(*tried["h2"]) if isinstance(tried, dict) else http1(tried)
    except OSError as error:
        return type(error).__name__


with concurrent.futures.ThreadPoolExecutor(16) as pool:
    answers = pool.map(one, GIVEN["tries"].values())
    print(json.dumps(dict(zip(GIVEN["tries"], answers, strict=True))))
