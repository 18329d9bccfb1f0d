"""Sets of public keys (RFC 7517): which keys of one can be used, written anew with their public parts only.

A proxy refuses a whole configuration for one key that it cannot load, so every key is looked into: RSA of 2,048 to
8,192 bits (RFC 7518, section 3.3), P-256, P-384 and P-521, Ed25519 (RFC 8037). Keys of other kinds and uses are left
out without a word, as RFC 7517, section 5, wants. Nothing that it says quotes a key.
"""

import base64
import binascii
import hashlib
import re
from typing import Any

import msgspec

MOST_KEYS = 100
LONGEST = 1 << 18
"""Bytes of a document."""

_SHORTEST_RSA, _LONGEST_RSA = 2048, 8192
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_TEXT = re.compile(r"[A-Za-z0-9_-]+=*")
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


class _Curve(msgspec.Struct, frozen=True):
    """y² = x³ - 3x + b over a prime field (FIPS 186-5; SP 800-186, section 3.2.1)."""

    algorithm: str
    prime: int
    b: int

    @property
    def size(self) -> int:
        return (self.prime.bit_length() + 7) // 8

    def has(self, x: int, y: int) -> bool:
        inside = x < self.prime and y < self.prime
        return inside and (y * y - (x * x * x - 3 * x + self.b)) % self.prime == 0


_CURVES = {
    "P-256": _Curve(
        "ES256", 2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "P-384": _Curve(
        "ES384", 2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    "P-521": _Curve(
        "ES512", 2**521 - 1,
        int(
            "051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573D"
            "F883D2C34F1EF451FD46B503F00", 16
        ),
    ),
}  # fmt: skip


class Problem(msgspec.Struct, frozen=True):
    """Why a key, or the whole document, cannot be used. `secret`: it tells what nobody but its owner may know."""

    message: str
    fix: str
    secret: bool = False


class Keys(msgspec.Struct, frozen=True):
    """`text` is a JWKS of what can be used, "" when there is nothing; `count` is the number of its keys."""

    text: str
    count: int
    problems: tuple[Problem, ...] = ()


_AGAIN = "write the issuer's JWKS as it is published: {\"keys\": [...]}"


def read(text: str) -> Keys:
    """The keys of a document."""
    if len(text.encode(errors="replace")) > LONGEST:
        return _none(f"it has more than {LONGEST} bytes", "write the keys that are in use only")
    try:
        said = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _none("it is not JSON", _AGAIN)
    listed = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(listed, list):
        return _none('it has no list "keys"', _AGAIN)
    if len(listed) > MOST_KEYS:
        return _none(f"it has {len(listed)} keys, more than {MOST_KEYS}", "write the keys that are in use only")
    kept, problems = [], []
    for number, key in enumerate(listed):
        found = _key(key)
        if isinstance(found, dict):
            kept.append(found)
        elif found is not None:
            problems.append(msgspec.structs.replace(found, message=f"key {number + 1} of it {found.message}"))
    if not kept:
        if not problems:
            problems.append(Problem("it has no key that signs tokens", _AGAIN))
        return Keys("", 0, tuple(problems))
    return Keys(msgspec.json.encode({"keys": kept}).decode(), len(kept), tuple(problems))


def _none(message: str, fix: str) -> Keys:
    return Keys("", 0, (Problem(message, fix),))


def _key(given: Any) -> dict[str, str] | Problem | None:
    """What of a key is public; None for one that is of no concern here."""
    if not isinstance(given, dict) or not isinstance(given.get("kty"), str):
        return Problem("says no kty", _AGAIN)
    if given["kty"] == "oct":
        return Problem(
            "is shared (kty oct): whoever checks tokens with it can make some", "use a pair of keys: RSA, EC or OKP",
            secret=True,
        )
    if any(name in given for name in _PRIVATE):
        return Problem(
            "has its private part beside the public one: whoever reads it can make tokens",
            "take the key out of use, make a new pair, and write its public part only", secret=True,
        )
    if given.get("use", "sig") != "sig":
        return None
    operations = given.get("key_ops")
    if isinstance(operations, list) and "verify" not in operations:
        return None
    made = {"RSA": _rsa, "EC": _curve, "OKP": _edwards}.get(given["kty"])
    found = made(given) if made else None
    if isinstance(found, dict) and isinstance(given.get("kid"), str) and given["kid"]:
        found["kid"] = given["kid"]
    return found


def _rsa(given: dict[str, Any]) -> dict[str, str] | Problem | None:
    modulus, exponent, algorithm = _number(given.get("n")), _number(given.get("e")), given.get("alg")
    if modulus is None or exponent is None:
        return Problem("has no n and e in base64url", _AGAIN)
    if algorithm is not None and algorithm not in _RSA_ALGORITHMS:
        return None if isinstance(algorithm, str) and algorithm.startswith("RSA") else _unknown(_RSA_ALGORITHMS)
    if not _SHORTEST_RSA <= modulus.bit_length() <= _LONGEST_RSA:
        return Problem(
            f"is an RSA key of {modulus.bit_length()} bits", f"use one of {_SHORTEST_RSA} to {_LONGEST_RSA} bits"
        )
    if exponent not in (3, 65537) or modulus % 2 == 0:
        return Problem("is no RSA key that can be used", "use one with the exponent 65537")
    said = {"kty": "RSA", "n": _written(modulus), "e": _written(exponent)}
    return {**said, "alg": str(algorithm)} if algorithm else said


def _curve(given: dict[str, Any]) -> dict[str, str] | Problem | None:
    curve = _CURVES.get(str(given.get("crv")))
    if curve is None:
        return Problem("is on another curve", f"use one of {', '.join(_CURVES)}")
    if given.get("alg", curve.algorithm) != curve.algorithm:
        encrypts = str(given.get("alg")).startswith("ECDH")
        return None if encrypts else _unknown((f"{curve.algorithm} with {given['crv']}",))
    x, y = _number(given.get("x")), _number(given.get("y"))
    if x is None or y is None or not curve.has(x, y):
        return Problem("is no point of its curve", _AGAIN)
    return {
        "kty": "EC", "crv": str(given["crv"]), "x": _written(x, curve.size), "y": _written(y, curve.size),
        "alg": curve.algorithm,
    }


def _edwards(given: dict[str, Any]) -> dict[str, str] | Problem | None:
    if given.get("crv") in ("X25519", "X448"):
        return None
    if given.get("crv") != "Ed25519":
        return Problem("is on another curve", "use Ed25519")
    if given.get("alg", "EdDSA") not in ("EdDSA", "Ed25519"):
        return _unknown(("EdDSA",))
    raw = _bytes(given.get("x"))
    if raw is None or len(raw) != 32:
        return Problem("has no x of 32 bytes in base64url", _AGAIN)
    return {"kty": "OKP", "crv": "Ed25519", "x": _encoded(raw), "alg": "EdDSA"}


def _unknown(known: tuple[str, ...]) -> Problem:
    return Problem("is for another algorithm than tokens are signed with", f"use one of {', '.join(known)}")


def _bytes(text: object) -> bytes | None:
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        return None
    plain = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError):
        return None


def _number(text: object) -> int | None:
    raw = _bytes(text)
    return int.from_bytes(raw, "big") if raw and len(raw) <= _LONGEST_RSA // 8 + 1 else None


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _written(number: int, size: int = 0) -> str:
    return _encoded(number.to_bytes(max(size, (number.bit_length() + 7) // 8), "big"))


def _nobodys() -> str:
    """A key whose private part nobody can know: a point found by hashing this sentence until one is on the curve."""
    curve, x = _CURVES["P-256"], hashlib.sha256(b"no key is known for this issuer").digest()
    while True:
        at = int.from_bytes(x, "big")
        y = pow((at * at * at - 3 * at + curve.b) % curve.prime, (curve.prime + 1) // 4, curve.prime)
        if curve.has(at, y):
            key = {"kty": "EC", "crv": "P-256", "x": _written(at, 32), "y": _written(y, 32), "alg": "ES256"}
            return msgspec.json.encode({"keys": [{**key, "kid": "nobody"}]}).decode()
        x = hashlib.sha256(x).digest()


NOBODYS = _nobodys()
"""What a proxy is given where no key is known: a set without keys it would not take."""
