"""Type stubs for the xDS messages, written from the descriptors that the xds-protos modules carry.

The wheel ships no stubs, so a strict type checker sees every message as Any. This reads the serialized
descriptor out of each module's text (nothing is imported, which keeps it within a second or two) and writes
one `.pyi` per module below the folder given. It refuses to touch `google.protobuf`: types-protobuf has that.

    python tools/stubs.py .typings

A stamp with the versions of the wheel and of this file makes the second run free.
"""

import ast
import hashlib
import importlib.metadata
import keyword
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator

from google.protobuf import descriptor_pb2

PACKAGE = "xds-protos"
ROOTS = ("envoy/", "opentelemetry/", "udpa/", "validate/", "xds/")
OLD = re.compile(r"/v2(alpha\d*)?/|^envoy/api/")
SERIALIZED = re.compile(r"AddSerializedFile\((b'(?:[^'\\]|\\.)*'|b\"(?:[^\"\\]|\\.)*\")\)")

Field = descriptor_pb2.FieldDescriptorProto
Message = descriptor_pb2.DescriptorProto
Enum = descriptor_pb2.EnumDescriptorProto
File = descriptor_pb2.FileDescriptorProto

SCALARS = {
    Field.TYPE_DOUBLE: "float",
    Field.TYPE_FLOAT: "float",
    Field.TYPE_BOOL: "bool",
    Field.TYPE_STRING: "str",
    Field.TYPE_BYTES: "bytes",
}
HEADER = """\
# Written by tools/stubs.py from the descriptors of {package}; changes here are lost.
import builtins as _b
import collections.abc as _c
import typing as _t

from google.protobuf import descriptor as _d
from google.protobuf import message as _m
from google.protobuf.internal import containers as _r
from google.protobuf.internal import enum_type_wrapper as _e
{imports}
DESCRIPTOR: _d.FileDescriptor
"""


def module_name(proto: str) -> str:
    """The Python module that protoc makes of a .proto path."""
    return proto.removesuffix(".proto").replace("-", "_").replace("/", ".") + "_pb2"


def read_descriptors() -> dict[str, File]:
    """Every file descriptor of the wheel by its .proto path; raises SystemExit when the wheel is absent."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(f"{PACKAGE} is not installed in {sys.prefix}: run `make setup`") from None
    found: dict[str, File] = {}
    for entry in distribution.files or ():
        if entry.suffix != ".py" or not entry.stem.endswith("_pb2"):
            continue
        if match := SERIALIZED.search(pathlib.Path(str(distribution.locate_file(entry))).read_text()):
            file = File.FromString(ast.literal_eval(match.group(1)))
            found[file.name] = file
    return found


def wanted(files: dict[str, File]) -> list[File]:
    """The current xDS files and whatever they import, without google.protobuf."""
    queue = [name for name in sorted(files) if name.startswith(ROOTS) and not OLD.search(name)]
    chosen: dict[str, File] = {}
    while queue:
        name = queue.pop()
        if name in chosen or name not in files:
            continue
        chosen[name] = files[name]
        queue.extend(files[name].dependency)
    return [chosen[name] for name in sorted(chosen)]


def places(files: dict[str, File]) -> dict[str, tuple[str, str]]:
    """Full proto name (with its leading dot) of every type -> (.proto path, dotted name in the module)."""
    index: dict[str, tuple[str, str]] = {}

    def enter(file: File, scope: str, path: str, messages: Iterator[Message], enums: Iterator[Enum]) -> None:
        for enum in enums:
            index[f"{scope}.{enum.name}"] = (file.name, f"{path}_{enum.name}.ValueType")
        for message in messages:
            index[f"{scope}.{message.name}"] = (file.name, path + message.name)
            inner = f"{path}{message.name}."
            full = f"{scope}.{message.name}"
            enter(file, full, inner, iter(message.nested_type), iter(message.enum_type))

    for file in files.values():
        scope = f".{file.package}" if file.package else ""
        enter(file, scope, "", iter(file.message_type), iter(file.enum_type))
    return index


class Stub:
    """The text of one module's stub, and the modules it turned out to need."""

    def __init__(self, file: File, index: dict[str, tuple[str, str]]) -> None:
        self.file = file
        self.index = index
        self.modules: dict[str, str] = {}
        self.lines: list[str] = []

    def text(self) -> str:
        """The whole module. Everything is named through its module, so no field can shadow a type."""
        for enum in self.file.enum_type:
            self.enum(enum, "", "")
        for message in self.file.message_type:
            self.message(message, "", f".{self.file.package}" if self.file.package else "", "")
        for extension in self.file.extension:
            self.lines.append(f"{extension.name}: _t.Any")
        imports = "".join(f"import {module} as {alias}\n" for module, alias in self.modules.items())
        return HEADER.format(package=PACKAGE, imports=imports) + "\n".join(self.lines) + "\n"

    def reference(self, full_name: str) -> str:
        """The expression for a message or enum type."""
        if full_name.startswith(".google.protobuf."):
            stem = WELL_KNOWN.get(full_name.removeprefix(".google.protobuf."), "descriptor")
            return self.via(f"google.protobuf.{stem}_pb2", full_name.removeprefix(".google.protobuf."))
        proto, path = self.index[full_name]
        return self.via(module_name(proto), path)

    def via(self, module: str, path: str) -> str:
        alias = self.modules.setdefault(module, f"_i{len(self.modules)}")
        return f"{alias}.{path}"

    def own(self, path: str) -> str:
        return self.via(module_name(self.file.name), path)

    def enum(self, enum: Enum, indent: str, path: str) -> None:
        """An enum as types-protobuf writes them: `Kind.Name`, `Kind.VALUE`, `Kind.ValueType`."""
        value = self.own(f"{path}_{enum.name}.ValueType")
        members = [item.name for item in enum.value if not keyword.iskeyword(item.name)]
        out = [
            f"class _{enum.name}:",
            '    ValueType = _t.NewType("ValueType", _b.int)',
            "    V: _t.TypeAlias = ValueType",
            f"class _{enum.name}Wrapper(_e._EnumTypeWrapper[{value}], _b.type):",
            "    DESCRIPTOR: _d.EnumDescriptor",
            *(f"    {name}: {value}" for name in members),
            f"class {enum.name}(_{enum.name}, metaclass=_{enum.name}Wrapper): ...",
            *(f"{name}: {value}" for name in members),
        ]
        self.lines.extend(indent + line for line in out)

    def message(self, message: Message, indent: str, scope: str, path: str) -> None:
        """A message class with its nested types, fields, constructor and presence methods."""
        full, own_path = f"{scope}.{message.name}", f"{path}{message.name}."
        inner = indent + "    "
        entries = {f"{full}.{kind.name}": kind for kind in message.nested_type if kind.options.map_entry}
        self.lines.append(f"{indent}@_t.final")
        self.lines.append(f"{indent}class {message.name}(_m.Message):")
        self.lines.append(f"{inner}DESCRIPTOR: _d.Descriptor")
        for enum in message.enum_type:
            self.enum(enum, inner, own_path)
        for kind in message.nested_type:
            self.message(kind, inner, full, own_path)
        arguments = []
        for field in message.field:
            held, given, settable = self.field(field, entries)
            self.lines.append(f"{inner}{field.name.upper()}_FIELD_NUMBER: _b.int")
            if keyword.iskeyword(field.name):
                continue
            arguments.append(f"{field.name}: {given} | None = ...")
            if settable:
                self.lines.append(f"{inner}{field.name}: {held}")
            else:
                self.lines.append(f"{inner}@_b.property\n{inner}def {field.name}(self) -> {held}: ...")
        if len(arguments) < len(message.field):
            arguments.append("**more: _t.Any")
        star = "" if not arguments or arguments[0].startswith("**") else "*, "
        self.lines.append(f"{inner}def __init__(_self, /, {star}{', '.join(arguments)}) -> None: ...")
        self.presence(message, inner)

    def field(self, field: Field, entries: dict[str, Message]) -> tuple[str, str, bool]:
        """What a field holds, what its constructor argument may be, and whether it can be assigned."""
        if entry := entries.get(field.type_name):
            key, _, _ = self.field(entry.field[0], {})
            value, _, scalar = self.field(entry.field[1], {})
            container = "ScalarMap" if scalar else "MessageMap"
            return f"_r.{container}[{key}, {value}]", f"_c.Mapping[{key}, {value}]", False
        if field.type in (Field.TYPE_MESSAGE, Field.TYPE_GROUP):
            one, scalar = self.reference(field.type_name), False
        elif field.type == Field.TYPE_ENUM:
            one, scalar = self.reference(field.type_name), True
            if field.type_name.startswith(".google.protobuf."):
                one += ".ValueType"
        else:
            one, scalar = f"_b.{SCALARS.get(field.type, 'int')}", True
        if field.label == Field.LABEL_REPEATED:
            container = "RepeatedScalarFieldContainer" if scalar else "RepeatedCompositeFieldContainer"
            return f"_r.{container}[{one}]", f"_c.Iterable[{one}]", False
        return one, one, scalar

    def presence(self, message: Message, indent: str) -> None:
        """HasField and WhichOneof, limited to the names that do not raise."""
        names: list[str] = []
        members: dict[int, list[str]] = {}
        for field in message.field:
            single = field.label != Field.LABEL_REPEATED
            in_oneof = field.HasField("oneof_index")
            if single and (in_oneof or field.type == Field.TYPE_MESSAGE or self.file.syntax != "proto3"):
                names.append(field.name)
            if in_oneof and not field.proto3_optional:
                members.setdefault(field.oneof_index, []).append(field.name)
        names.extend(message.oneof_decl[number].name for number in members)
        if names:
            self.lines.append(f"{indent}def HasField(self, field_name: {literal(names)}) -> _b.bool: ...")
        overload = f"{indent}@_t.overload\n" if len(members) > 1 else ""
        for number, fields in members.items():
            argument = f"oneof_group: {literal([message.oneof_decl[number].name])}"
            answer = f"{literal(fields)} | None"
            self.lines.append(f"{overload}{indent}def WhichOneof(self, {argument}) -> {answer}: ...")


def literal(names: list[str]) -> str:
    return f"_t.Literal[{', '.join(repr(name) for name in names)}]"


def well_known() -> dict[str, str]:
    """Top-level google.protobuf type -> the stem of its module."""
    table = {}
    for stem in ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers", "descriptor"):
        module = __import__(f"google.protobuf.{stem}_pb2", fromlist=["DESCRIPTOR"])
        for name in (*module.DESCRIPTOR.message_types_by_name, *module.DESCRIPTOR.enum_types_by_name):
            table[name] = stem
    return table


WELL_KNOWN = well_known()


def write(folder: pathlib.Path) -> int:
    """Write all stubs into an emptied `folder`; returns how many."""
    files = read_descriptors()
    index = places(files)
    shutil.rmtree(folder, ignore_errors=True)
    chosen = wanted(files)
    for file in chosen:
        path = folder / (module_name(file.name).replace(".", "/") + ".pyi")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Stub(file, index).text())
    for package in {parent for path in folder.rglob("*.pyi") for parent in path.relative_to(folder).parents}:
        if package.parts and package != pathlib.Path("google"):
            (folder / package / "__init__.pyi").touch()
    return len(chosen)


def main() -> None:
    """Write the stubs unless the stamp says that they are there."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python tools/stubs.py FOLDER")
    folder = pathlib.Path(sys.argv[1])
    own = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()[:16]
    stamp = f"{PACKAGE} {importlib.metadata.version(PACKAGE)} {own}\n"
    written = folder / "stamp"
    if written.exists() and written.read_text() == stamp:
        return
    count = write(folder)
    written.write_text(stamp)
    print(f"{folder}: stubs of {count} xDS modules")


if __name__ == "__main__":
    main()
