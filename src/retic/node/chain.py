"""Our plugin in the node's chain of CNI plugins: its binary, and its entry at the end of the configuration list.

The runtime uses the first file of the folder, by name. A plain configuration of one plugin (.conf) is made into a list
that takes its place; whatever another program writes there gets our entry again. What we remove is exactly what we
put there.
"""

import asyncio
import os
import pathlib
from typing import Any

import msgspec
import structlog
import watchfiles

from retic.node import config

NAME = "retic-cni"
_LIST = ".conflist"
_SUFFIXES = frozenset({_LIST, ".conf", ".json"})  # what libcni reads
_KEPT = ".before-retic"  # beside a list made of a plain configuration: that configuration
_OLDEST = "0.3.1"  # before it plugins do not get the result of the one before
AGAIN = 2.0  # seconds between attempts
LOOK_MS = 5000  # between looks without a change, for what no watch tells
_log = structlog.get_logger("retic.node")


class UnusableError(Exception):
    """No configuration that our plugin can be put into. The message names the file and says why."""


async def keep(where: config.Cni) -> None:
    """Install, and put the entry back whenever it is gone. Never returns."""
    said = ""
    while True:
        try:
            install(where)
            said = ""
            await _changed(where)
            continue
        except (OSError, UnusableError) as error:
            if str(error) != said:
                _log.warning("the CNI plugin is not in the node's chain", reason=str(error))
                said = str(error)
        await asyncio.sleep(AGAIN)


async def _changed(where: config.Cni) -> None:
    """Return when binary or entry are not as they should be any more. OSError when a folder is gone."""
    async for _ in watchfiles.awatch(
        where.conf, where.bin, recursive=False, rust_timeout=LOOK_MS, yield_on_timeout=True, debounce=200
    ):
        if not installed(where):
            return


def installed(where: config.Cni) -> bool:
    """Whether the binary and the entry are as they should be."""
    try:
        same = _same(where.plugin, where.bin / NAME)
        found = _read(_first(where.conf))
        return same and _entry(where, found) in found.get("plugins", ())
    except (OSError, UnusableError):
        return False


def fault(where: config.Cni) -> str:
    """What is wrong with binary and entry; "" when nothing is."""
    if installed(where):
        return ""
    try:
        return f"{NAME} is not in {_first(where.conf)}, or its program not in {where.bin}"[:1024]
    except (OSError, UnusableError) as error:
        return str(error)[:1024]


def install(where: config.Cni) -> None:
    """Put binary and entry in place, each in one step. UnusableError, OSError."""
    if not _same(where.plugin, where.bin / NAME):
        _put(where.bin / NAME, where.plugin.read_bytes(), 0o755)
    file = _first(where.conf)
    found = _read(file)
    plain = file if "plugins" not in found else None
    if plain is not None:
        single = {key: value for key, value in found.items() if key not in ("cniVersion", "name")}
        head: dict[str, Any] = {key: found[key] for key in ("cniVersion", "name") if key in found}
        found, file = {**head, "plugins": [single]}, file.with_suffix(_LIST)
        if file.exists() and file != plain:
            raise UnusableError(f"{plain} comes before {file}, which is there as well: remove one of them")
    wanted = [one for one in found["plugins"] if one.get("type") != NAME]
    entry = _entry(where, found)
    if found["plugins"] != [*wanted, entry]:
        text = msgspec.json.format(msgspec.json.encode({**found, "plugins": [*wanted, entry]}), indent=2)
        _put(file, text + b"\n", 0o600)
        if plain is not None:
            plain.replace(plain.with_name(plain.name + _KEPT))
        _log.info("the CNI plugin is in the node's chain", file=str(file))


def remove(where: config.Cni) -> list[str]:
    """Take the entry out of every list, then the binary away; the files changed. OSError.

    A list that was made of a plain configuration becomes that again.
    """
    changed: list[str] = []
    for file in _files(where.conf):
        try:
            found = _read(file)
        except UnusableError:
            continue
        left = [one for one in found.get("plugins", ()) if one.get("type") != NAME]
        if "plugins" not in found or len(left) == len(found["plugins"]):
            continue
        before = next((one for one in where.conf.glob(f"{file.stem}.*{_KEPT}") if one.is_file()), None)
        if before is not None:
            before.replace(where.conf / before.name.removesuffix(_KEPT))
            file.unlink()
        else:
            text = msgspec.json.format(msgspec.json.encode({**found, "plugins": left}), indent=2)
            _put(file, text + b"\n", 0o600)
        changed.append(str(file))
    if (where.bin / NAME).exists():
        (where.bin / NAME).unlink()
        changed.append(str(where.bin / NAME))
    return changed


def _entry(where: config.Cni, found: dict[str, Any]) -> dict[str, Any]:
    return {"type": NAME, "socket": str(where.socket), "exclude": list(where.exclude)}


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES and not file.name.startswith("."))


def _first(folder: pathlib.Path) -> pathlib.Path:
    found = _files(folder)
    if not found:
        raise UnusableError(f"{folder} has no network configuration: the cluster's network plugin is not installed yet")
    return found[0]


def _read(file: pathlib.Path) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise UnusableError(f"{file} is no network configuration: {error}") from None
    plugins = found.get("plugins", [found])
    if not isinstance(plugins, list) or not plugins or not all(isinstance(one, dict) for one in plugins):
        raise UnusableError(f"{file}: plugins must be a list of objects that is not empty")
    if not all(isinstance(one.get("type"), str) for one in plugins):
        raise UnusableError(f"{file}: a plugin has no type")
    version = found.get("cniVersion", "")
    if not isinstance(version, str) or _numbers(version) < _numbers(_OLDEST):
        raise UnusableError(f"{file} has cniVersion {version!r}: {_OLDEST} or later is needed to chain plugins")
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def _same(one: pathlib.Path, other: pathlib.Path) -> bool:
    return other.is_file() and other.stat().st_mode & 0o111 != 0 and one.read_bytes() == other.read_bytes()


def _put(file: pathlib.Path, content: bytes, mode: int) -> None:
    """Write the file in one step: nobody ever sees half of it. Its mode stays if it is there."""
    with_mode = file.stat().st_mode & 0o777 if file.exists() else mode
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.chmod(with_mode | (mode & 0o111))
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
