"""Issuers of JSON web tokens for tests: pairs of keys, the tokens they sign, good ones and others, and their JWKS."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

_CURVES: dict[str, tuple[str, ec.EllipticCurve, int]] = {
    "ES256": ("P-256", ec.SECP256R1(), 32),
    "ES384": ("P-384", ec.SECP384R1(), 48),
    "ES512": ("P-521", ec.SECP521R1(), 66),
}


def text(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _number(value: int, size: int = 0) -> str:
    return text(value.to_bytes(max(size, (value.bit_length() + 7) // 8), "big"))


def _digest(algorithm: str) -> hashes.HashAlgorithm:
    return {"384": hashes.SHA384, "512": hashes.SHA512}.get(algorithm[2:], hashes.SHA256)()


class Key:
    """A pair of keys for one of ES256, ES384, ES512, RS256 ... PS512, EdDSA."""

    def __init__(self, algorithm: str = "ES256", kid: str = "k1") -> None:
        self.algorithm, self.kid = algorithm, kid
        self._key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
        if algorithm in _CURVES:
            self._key = ec.generate_private_key(_CURVES[algorithm][1])
        elif algorithm == "EdDSA":
            self._key = ed25519.Ed25519PrivateKey.generate()
        else:
            self._key = rsa.generate_private_key(65537, 2048)

    def public(self, *, algorithm: bool = True) -> dict[str, str]:
        """The public part as a JWK."""
        said = {"kid": self.kid, "use": "sig", **({"alg": self.algorithm} if algorithm else {})}
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            raw = self._key.public_key().public_bytes_raw()
            return {"kty": "OKP", "crv": "Ed25519", "x": text(raw), **said}
        if isinstance(self._key, rsa.RSAPrivateKey):
            numbers = self._key.public_key().public_numbers()
            return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e), **said}
        crv, _, size = _CURVES[self.algorithm]
        point = self._key.public_key().public_numbers()
        return {"kty": "EC", "crv": crv, "x": _number(point.x, size), "y": _number(point.y, size), **said}

    def pem(self) -> bytes:
        """The public part as PEM, which a careless library takes for a shared secret."""
        how = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, how)

    def sign(self, signed: bytes, algorithm: str = "") -> bytes:
        """A signature by this key; `algorithm` for an RSA key's other ones."""
        name = algorithm or self.algorithm
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(signed)
        digest = _digest(name)
        if isinstance(self._key, rsa.RSAPrivateKey):
            pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
            return self._key.sign(signed, pss if name.startswith("PS") else padding.PKCS1v15(), digest)
        size = _CURVES[self.algorithm][2]
        r, s = utils.decode_dss_signature(self._key.sign(signed, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def joined(header: Mapping[str, Any], claims: Any) -> str:
    """The part of a token that is signed."""
    return ".".join(text(json.dumps(part).encode()) for part in (header, claims))


def unsigned(claims: Mapping[str, Any]) -> str:
    """A token of the algorithm `none`."""
    return joined({"alg": "none"}, claims) + "."


def shared(secret: bytes, claims: Mapping[str, Any], kid: str = "k1") -> str:
    """A token signed with a shared secret (HS256)."""
    signed = joined({"alg": "HS256", "kid": kid}, claims)
    return f"{signed}.{text(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


class Issuer:
    """Whose tokens bear `iss`. Keys are given, or one is made."""

    def __init__(self, name: str, *keys: Key) -> None:
        self.name = name
        self.keys = list(keys) or [Key()]

    def jwks(self) -> str:
        """What it publishes."""
        return json.dumps({"keys": [key.public() for key in self.keys]})

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Usual ones, valid for an hour, and these; None leaves one out."""
        usual = {"iss": self.name, "sub": "someone", "exp": int(time.time()) + 3600}
        return {name: value for name, value in {**usual, **claims}.items() if value is not None}

    def token(self, *, key: Key | None = None, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token with these claims beside the usual ones, of the first key or another."""
        signer = key or self.keys[0]
        said = {"alg": signer.algorithm, "kid": signer.kid, "typ": "JWT", **(header or {})}
        signed = joined({name: value for name, value in said.items() if value is not None}, self.claims(**claims))
        return f"{signed}.{text(signer.sign(signed.encode()))}"
