"""What a user wrote, from files and `--set`, into `Values`: merged, checked, every fault named at once.

Merges as Helm does: mappings key by key, everything else as a whole; what comes later wins.
"""

import enum
import ipaddress
import pathlib
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import yaml
from cryptography import x509

from retic.install import names, values
from retic.sources import nearest


class ValuesError(Exception):
    """Values that cannot be used; each line of the message names one and says what to write instead."""


def collect(files: Sequence[pathlib.Path], assignments: Sequence[str]) -> dict[str, Any]:
    """What the files and then the assignments (`a.b=c`) set, as nested mappings. Raises ValuesError."""
    found: dict[str, Any] = {}
    for file in files:
        found = merged(found, _read(file))
    for assignment in assignments:
        found = merged(found, _assigned(assignment))
    return found


def _read(file: pathlib.Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ValuesError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValuesError(f"{file}: is not YAML: {' '.join(str(error).split())}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ValuesError(f"{file}: must be a mapping of values (mode: STRICT), not {_kind(loaded)}")
    return loaded


def _assigned(assignment: str) -> dict[str, Any]:
    """`a.b=c` as nested mappings; c is read as YAML, and where a list is wanted as words between commas."""
    name, equals, text = assignment.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not all(path):
        raise ValuesError(f"--set {assignment}: write it as name=value, like --set mode=STRICT")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    setting = next((one for one in values.settings() if one.path == path), None)
    if setting is not None and isinstance(setting.default, list) and not isinstance(value, list):
        value = [part.strip() for part in text.split(",") if part.strip()]
    elif setting is not None and setting.type not in (int, bool) and not isinstance(value, dict | list):
        value = None if value is None and type(None) in typing.get_args(setting.type) else text
    for part in reversed(path):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid upon `under`."""
    answer = dict(under)
    for key, value in over.items():
        below = answer.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        answer[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return answer


def load(overrides: Mapping[str, Any]) -> values.Values:
    """The values with these set. Raises ValuesError with all that is wrong."""
    wrong = list(_unknown(overrides, values.Values, ()))
    if wrong:
        raise ValuesError("\n".join(wrong))
    made = _converted(merged(_defaults(), overrides))
    wrong = [*_networks(made), *_double(made), *_domains(made), *_ports(made)]
    if wrong:
        raise ValuesError("\n".join(wrong))
    return made


def _defaults() -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(values.Values()))
    return made


def _unknown(given: Mapping[str, Any], part: Any, prefix: tuple[str, ...]) -> Iterable[str]:
    """Names that no value has, and groups that are no mapping."""
    names = [field.encode_name for field in msgspec.structs.fields(part)]
    for key, value in given.items():
        name = ".".join((*prefix, str(key)))
        if key not in names:
            yield f"{name}: there is no such value{_meant(str(key), names, prefix)}"
            continue
        inner = values.group(part, key)
        if inner is None:
            continue
        if not isinstance(value, Mapping):
            first = msgspec.structs.fields(inner)[0].encode_name
            yield f"{name}: is a group of values: set what is in it, like {name}.{first}"
            continue
        yield from _unknown(value, inner, (*prefix, str(key)))


def _meant(key: str, names: list[str], prefix: tuple[str, ...]) -> str:
    near = nearest.word(key, names)
    if near is not None:
        return f"; did you mean {'.'.join((*prefix, near))}?"
    settings = values.settings()
    elsewhere = nearest.word(key, (one.path[-1] for one in settings))
    if elsewhere is not None:
        return f"; did you mean {' or '.join(one.name for one in settings if one.path[-1] == elsewhere)}?"
    return f"; there are: {', '.join(names)}"


def _converted(tree: dict[str, Any]) -> values.Values:
    """One conversion for each value, so that every wrong one is named, then the whole."""
    wrong = []
    try:
        return msgspec.convert(tree, values.Values)
    except msgspec.ValidationError as first:
        for field in msgspec.structs.fields(values.Values):
            try:
                msgspec.convert({field.encode_name: tree[field.encode_name]}, values.Values)
            except msgspec.ValidationError as error:
                wrong.append(_worded(str(error), tree))
        raise ValuesError("\n".join(wrong) or str(first)) from None


def _worded(message: str, tree: dict[str, Any]) -> str:
    """`Expected X - at `$.a.b`` as `a.b: expected X, not Y`."""
    what, _, place = message.partition(" - at `$")
    name = place.rstrip("`").lstrip(".")
    found = values.at(tree, tuple(name.partition("[")[0].split(".")))
    setting = next((one for one in values.settings() if one.name == name.partition("[")[0]), None)
    said = f" ({setting.description})" if setting else ""
    if setting is not None and isinstance(setting.type, enum.EnumMeta):
        what = f"must be one of {', '.join(setting.type)}"
    return f"{name}: {_plain(what)}, not {found!r}{said}"


_KINDS = {"int": "a whole number", "str": "a text", "bool": "true or false", "array": "a list", "object": "a mapping"}
_EXPECTED = re.compile(r"Expected `(\w+)(?: \| null)?`(?: (>=|<=) (\S+)| matching regex '(.*)'| (of length >= 1))?")


def _plain(what: str) -> str:
    """msgspec's complaint in words that know no Python."""
    found = _EXPECTED.match(what)
    if found is None or found[1] not in _KINDS:
        return what
    if found[5]:
        return "must not be empty"
    if found[4]:
        return f"must be {_KINDS[found[1]]} like {found[4].replace(chr(92) * 2, chr(92))}"
    bound = {">=": " of at least ", "<=": " of at most "}.get(found[2] or "", "")
    return f"must be {_KINDS[found[1]]}{bound}{found[3] or ''}"


def _networks(made: values.Values) -> Iterable[str]:
    """Networks that are no CIDRs, or overlap where they must not."""
    parsed: dict[str, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {}
    for name, given in (("podNetworks", made.pod_networks), ("serviceNetworks", made.service_networks)):
        for text in given:
            try:
                parsed.setdefault(name, []).append(ipaddress.ip_network(text))
            except ValueError as error:
                yield f"{name}: {text!r} is no network: {error}; write it like {_like(text)}"
    for pods in parsed.get("podNetworks", []):
        for services in parsed.get("serviceNetworks", []):
            if pods.version == services.version and pods.overlaps(services):
                yield f"podNetworks: {pods} overlaps {services} of serviceNetworks; a cluster's never do"


def _like(text: str) -> str:
    """The network that was probably meant."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return "10.42.0.0/16"


def _double(made: values.Values) -> Iterable[str]:
    if made.cni.conf_folder == made.cni.bin_folder:
        yield "cni.binFolder: is the same folder as cni.confFolder; the defaults are /opt/cni/bin and /etc/cni/net.d"


def _domains(made: values.Values) -> Iterable[str]:
    """Trust domains that stand in two places, and roots that are none."""
    places = {made.trust_domain: "trustDomain"}
    named = [("trustDomainAliases", alias) for alias in made.trust_domain_aliases]
    named += [("trustedRoots", root.trust_domain) for root in made.trusted_roots]
    for where, name in named:
        if name in places:
            yield f"{where}: {name} stands in {places[name]} already; each trust domain has one place"
        places.setdefault(name, where)
    for root in made.trusted_roots:
        try:
            x509.load_pem_x509_certificates(root.roots.encode())
        except ValueError:
            yield f"trustedRoots: the roots of {root.trust_domain} are no certificates in PEM"


def _ports(made: values.Values) -> Iterable[str]:
    if what := names.CONTROLLER_PORTS.get(made.metrics.port):
        yield f"metrics.port: {made.metrics.port} is the controller's for {what}: write another one, or 0 for none"


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"the text {value!r}" if isinstance(value, str) else repr(value)
