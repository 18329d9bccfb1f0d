"""From where nothing is fetched, and that a fetch goes nowhere else than where it was checked to go."""

import asyncio
import ipaddress
import json
import subprocess
import sys

import pytest

from retic.sources import keys
from retic.sources.keys import addresses
from retic.testing import key_server, machine, tls_pairs

MESH = (ipaddress.ip_network("10.244.0.0/16"),)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "169.254.1.1", "fe80::1",
        "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1", "::127.0.0.1",
        "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "10.244.3.4", "::ffff:10.244.3.4",
    ],
)  # fmt: skip
def test_an_address_that_nothing_is_fetched_from(text):
    assert addresses.refused(ipaddress.ip_address(text), MESH)


@pytest.mark.parametrize("text", ["192.0.2.1", "10.0.0.1", "10.245.0.1", "203.0.113.9", "2001:db8::1", "fd00::1"])
def test_an_address_that_may_be_fetched_from(text):
    assert addresses.refused(ipaddress.ip_address(text), MESH) == ""


@pytest.mark.parametrize(
    "uri",
    [
        "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0/",
        "http://[::1]/", "https://[::ffff:169.254.169.254]/", "https://name.example/",
    ],
)  # fmt: skip
async def test_no_connection_is_made_to_such_an_address_however_it_is_written(uri, monkeypatch):
    async def nowhere(*_, **__):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", nowhere)

    async def resolve(name, _):
        return ("127.0.0.1", "169.254.169.254", "fe80::1%eth0")

    with pytest.raises(keys.FetchError, match="is not fetched from"):
        await keys.over_https(keys.Limits(), resolve=resolve)(uri, 30)


FETCH = """
import asyncio, json, sys
from retic.sources import keys

async def main():
    async def resolve(name, port):
        return ("127.0.0.1", sys.argv[1])
    get = keys.over_https(keys.Limits(), resolve=resolve)
    for uri, seconds in json.load(sys.stdin):
        try:
            found = await get(uri, seconds)
            print(json.dumps([found.text, found.seconds]), flush=True)
        except keys.FetchError as error:
            print(json.dumps([None, str(error)]), flush=True)

asyncio.run(main())
"""


def test_a_fetch_over_the_network(tmp_path_factory):
    with machine.on(machine.users()[0]) as host:
        folder = host.runtime
        private = tls_pairs.key()
        pair = folder / "pair.pem"
        pair.write_bytes(tls_pairs.chain(private, machine.OUTSIDE, "keys.example") + tls_pairs.pem(private))
        host.more = {"SSL_CERT_FILE": str(pair), "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
        servers = [_serve(host, folder, str(pair)), _serve(host, folder)]
        (_, secure), (_, plain) = servers
        key_server.write(folder, "good", '{"keys": []}', cache_control="max-age=77")
        key_server.write(folder, "away", "", status=302, location=f"http://{machine.OUTSIDE}:{plain}/good")
        key_server.write(folder, "packed", "x", content_encoding="gzip")
        key_server.write(folder, "large", "x" * (1 << 18) + "y")
        key_server.write(folder, "slow", "x", seconds=30)
        key_server.write(folder, "broken", "x", content_length="500")
        at = machine.OUTSIDE
        wanted = {
            f"https://{at}:{secure}/good?a=b": ('{"keys": []}', 77),
            f"https://keys.example:{secure}/good": ('{"keys": []}', 77),
            f"http://{at}:{plain}/good": ('{"keys": []}', 77),
            f"https://other.example:{secure}/good": "its certificate is not trusted",
            f"https://{at}:{plain}/good": "speaks no TLS",
            f"https://{at}:1/good": "cannot be reached: ",
            f"https://{at}:{secure}/none": "answered 404",
            f"https://{at}:{secure}/away": "answered 302: no redirect is followed",
            f"https://{at}:{secure}/packed": "answered with a compressed document",
            f"https://{at}:{secure}/large": "answered with more than 262144 bytes",
            f"https://{at}:{secure}/slow": "gave no whole answer within 2 s",
            f"https://{at}:{secure}/broken": "gave no whole answer",
            f"https://a:b@{at}:{secure}/good": "without a user",
            f"ftp://{at}/good": "not one of HTTPS or HTTP",
            f"https://{at}:99999/good": "no port that is possible",
        }
        line = [sys.executable, "-c", FETCH, at]
        process = host.popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        fetches = [[uri, 2 if uri.endswith("/slow") else 30] for uri in wanted]
        out, err = process.communicate(json.dumps(fetches).encode(), timeout=150)
        found = [json.loads(text) for text in out.decode().splitlines()]
        assert len(found) == len(wanted), err.decode()[-2000:]
        for (uri, right), (text, said) in zip(wanted.items(), found, strict=True):
            if isinstance(right, tuple):
                assert (text, said) == right, uri
            else:
                assert text is None, uri
                assert right in said, (uri, said)
                assert "a:b" not in said
        asked = (folder / "asked").read_text().splitlines()
        assert f"/good keys.example:{secure}" in asked
        for server, _ in servers:
            server.kill()
            server.wait()
            server.stdout.close()


def _serve(host, folder, *pair):
    line = [sys.executable, "-m", "retic.testing.key_server", f"{machine.OUTSIDE}:0", str(folder), *pair]
    process = host.popen(line, stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline().split()[1])
