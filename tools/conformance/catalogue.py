"""The suite's tests as its own source lists them: which profile and which features each belongs to."""

import pathlib
import re

import msgspec

_TEST = re.compile(r"ConformanceTest\{(.*?)\n\}", re.DOTALL)
_NAME = re.compile(r'ShortName:\s*"(\w+)"')
_FEATURES = re.compile(r"features\.Support(\w+)")
# Of these alone a core test is made (suite.ConformanceProfile, `CoreFeatures`): a test with others is extended.
PROFILES = {
    "MESH-HTTP": frozenset({"Mesh", "HTTPRoute"}),
    "MESH-GRPC": frozenset({"Mesh", "GRPCRoute"}),
}


class Test(msgspec.Struct, frozen=True, order=True):
    """One test. `features` as in GatewayClass.status.supportedFeatures; a provisional one counts nowhere."""

    name: str
    features: frozenset[str]
    provisional: bool

    def profiles(self) -> list[str]:
        """The profiles that it is a test of: it needs no other kind of route than theirs."""
        kinds = {f for f in self.features if f in ("HTTPRoute", "GRPCRoute", "Gateway")}
        return [name for name, core in PROFILES.items() if "Mesh" in self.features and kinds <= core]

    def core(self, profile: str) -> bool:
        """Whether the profile cannot be claimed without it."""
        return not self.provisional and self.features <= PROFILES[profile]


def mesh(suite: pathlib.Path) -> list[Test]:
    """The mesh's tests, by name; `suite` is the folder of the module. ValueError where it looks otherwise."""
    found = []
    for file in sorted((suite / "tests" / "mesh").glob("*.go")):
        for body in _TEST.findall(file.read_text()):
            name = _NAME.search(body)
            if name:
                features = frozenset(_FEATURES.findall(body))
                found.append(Test(name[1], features, "Provisional: true" in re.sub(r" +", " ", body)))
    if not found:
        raise ValueError(f"{suite} lists no tests of a mesh")
    return sorted(found)
