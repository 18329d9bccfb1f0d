"""What an Envoy has, read from its admin page over the unix socket that only its agent's user may open.

Resources come out as Envoy shows them, except that nothing secret leaves: keys are dropped by name
wherever they stand, and of secrets only what a certificate says in public is kept.
"""

import asyncio
import base64
import binascii
import http.client
import pathlib
import socket
from typing import Any

import msgspec
from cryptography import x509

_SECONDS = 10.0

_SECRET_FIELDS = frozenset({
    "private_key", "private_key_provider", "password", "session_ticket_keys", "session_ticket_keys_sds",
    "pkcs12", "generic_secret", "token_secret", "hmac_secret",
})


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__("admin", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def proxies(folder: pathlib.Path) -> dict[str, str]:
    """The agents of a mesh and how a user names their proxies, from the state folder."""
    found = {}
    for entry in sorted((folder / "agents").glob("*/agent.json")):
        try:
            settings = msgspec.json.decode(entry.read_bytes())
        except (OSError, msgspec.DecodeError):
            settings = {}
        client = str(settings.get("id", entry.parent.name)) if isinstance(settings, dict) else ""
        found[entry.parent.name] = client.removeprefix("node/") or entry.parent.name
    return found


async def read(path: pathlib.Path, section: str) -> Any:
    """One section as JSON values, or for "" a summary of all. Raises OSError when Envoy does not answer."""
    return await asyncio.to_thread(_read, path, section)


async def page(path: pathlib.Path, target: str) -> str:
    """One page of the admin interface as text. OSError when Envoy does not answer."""
    return await asyncio.to_thread(_text, path, target)


async def version(path: pathlib.Path) -> str:
    """The release of the Envoy behind the socket, such as 1.40.0. OSError when it does not answer."""
    build = (await asyncio.to_thread(_get, path, "/server_info"))["version"]
    # revision/release/state/build/TLS library (envoy.admin.v3.ServerInfo)
    return str(build).split("/")[1]


def _read(path: pathlib.Path, section: str) -> Any:
    match section:
        case "stats":
            return _stats(_get(path, "/stats?format=json"))
        case "":
            return _summary(path)
        case _:
            return _sections(_get(path, "/config_dump?include_eds"))[section]


def _get(path: pathlib.Path, page: str) -> Any:
    try:
        return msgspec.json.decode(_bytes(path, page))
    except msgspec.DecodeError as error:
        raise OSError(f"Envoy answered {page} with something unreadable") from error


def _text(path: pathlib.Path, page: str) -> str:
    return _bytes(path, page).decode(errors="replace")


def _bytes(path: pathlib.Path, page: str) -> bytes:
    connection = _Connection(path)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise OSError(f"Envoy answered {page} with {response.status}")
        return body
    except http.client.HTTPException as error:
        raise OSError(f"Envoy answered {page} with something unreadable") from error
    finally:
        connection.close()


def _summary(path: pathlib.Path) -> dict[str, Any]:
    info = _get(path, "/server_info")
    sections = _sections(_get(path, "/config_dump?include_eds"))
    return {
        "version": info.get("version", ""),
        "state": info.get("state", ""),
        "uptime": info.get("uptime_current_epoch", ""),
        **{section: len(rows) for section, rows in sections.items()},
    }


def _stats(raw: dict[str, Any]) -> dict[str, Any]:
    return {stat["name"]: stat["value"] for stat in raw.get("stats", ()) if "name" in stat}


def _sections(dump: dict[str, Any]) -> dict[str, list[Any]]:
    """The configuration dump by section; a dynamic resource's newest form, with its version."""
    found: dict[str, list[Any]] = {s: [] for s in ("listeners", "routes", "clusters", "endpoints", "secrets")}
    for config in dump.get("configs", ()):
        kind = config.get("@type", "").rpartition(".")[2]
        if kind == "ListenersConfigDump":
            found["listeners"] += _listeners(config)
        elif kind == "RoutesConfigDump":
            found["routes"] += _resources(
                config, "route_config", static_route_configs="static", dynamic_route_configs="active"
            )
        elif kind == "ClustersConfigDump":
            found["clusters"] += _resources(
                config, "cluster", static_clusters="static", dynamic_active_clusters="active",
                dynamic_warming_clusters="warming",
            )
        elif kind == "EndpointsConfigDump":
            found["endpoints"] += _resources(
                config, "endpoint_config", static_endpoint_configs="static", dynamic_endpoint_configs="active"
            )
        elif kind == "SecretsConfigDump":
            found["secrets"] += _secrets(config)
    return found


def _listeners(config: dict[str, Any]) -> list[Any]:
    rows = []
    for dynamic in config.get("dynamic_listeners", ()):
        for state in ("active_state", "warming_state", "draining_state"):
            if "listener" in dynamic.get(state, {}):
                version = dynamic[state].get("version_info", "")
                row = {"version": version, "state": state.removesuffix("_state")}
                if "error_state" in dynamic:
                    row["error"] = dynamic["error_state"].get("details", "")
                rows.append({**row, **_bare(dynamic[state]["listener"])})
    rows += [{"version": "", "state": "static", **_bare(static["listener"])}
             for static in config.get("static_listeners", ()) if "listener" in static]
    return rows


def _resources(config: dict[str, Any], field: str, **states: str) -> list[Any]:
    """The resources in `field` of each entry; `states` names the lists and the state they stand for."""
    return [
        {"version": entry.get("version_info", ""), "state": state, **_bare(entry[field])}
        for entries, state in states.items()
        for entry in config.get(entries, ())
        if field in entry
    ]


def _secrets(config: dict[str, Any]) -> list[Any]:
    """Names, states, and what a certificate chain's first certificate says; nothing else of a secret."""
    rows = []
    for state in ("static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"):
        for entry in config.get(state, ()):
            secret = entry.get("secret", {})
            row = {
                "name": entry.get("name", ""),
                "state": state.removesuffix("_secrets").removeprefix("dynamic_"),
                "kind": next((k for k in secret if k not in {"name", "@type"}), ""),
                "version": entry.get("version_info", ""),
            }
            chain = secret.get("tls_certificate", {}).get("certificate_chain") or secret.get(
                "validation_context", {}
            ).get("trusted_ca", {})
            rows.append({**row, **_certificate(chain)})
    return rows


def _certificate(source: dict[str, Any]) -> dict[str, Any]:
    try:
        pem = source.get("inline_string", "").encode() or base64.b64decode(source.get("inline_bytes", ""))
        leaf = x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, binascii.Error):
        return {}
    names: list[str] = []
    for extension in leaf.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = [str(getattr(name, "value", "")) for name in extension.value]
    return {
        "names": names,
        "serial": format(leaf.serial_number, "x"),
        "not_before": leaf.not_valid_before_utc.isoformat(),
        "not_after": leaf.not_valid_after_utc.isoformat(),
    }


def _bare(value: Any) -> Any:
    """The same without secret fields, at any depth."""
    if isinstance(value, dict):
        return {key: _bare(inner) for key, inner in value.items() if key not in _SECRET_FIELDS}
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    return value
