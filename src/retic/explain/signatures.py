"""Whether a signature is of one of an issuer's keys (RFC 7515, RFC 7518, RFC 8037), as a proxy decides it."""

import base64
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes

ALGORITHMS = frozenset(
    {
        "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
        "EdDSA",
    }
)  # fmt: skip
"""What a token may say it is signed with. Those with a shared key (HS) fit no key of `mesh.jwks`."""


def fault(keys: str, algorithm: str, key_id: str, signed: bytes, signature: bytes) -> str:
    """Why the signature does not hold, "" when it does; `keys` is a JWKS of `mesh.jwks`, `key_id` "" for none."""
    matched = False
    for key in msgspec.json.decode(keys)["keys"] if keys else ():
        if key_id and key.get("kid") and key["kid"] != key_id:
            continue
        if key.get("alg", algorithm) != algorithm:
            continue
        matched = True
        if _holds(key, algorithm, signed, signature):
            return ""
    return "its signature is of no key of the issuer" if matched else "the issuer has no such key"


def _holds(key: dict[str, Any], algorithm: str, signed: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    verify = {"RSA": _rsa, "EC": _curve, "OKP": _edwards}[key["kty"]]
    try:
        return verify(key, algorithm, signed, signature)
    except (InvalidSignature, ValueError):
        return False


def _rsa(key: dict[str, Any], algorithm: str, signed: bytes, signature: bytes) -> bool:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    if algorithm[:2] not in ("RS", "PS"):
        return False
    public = rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"])).public_key()
    digest = _digest(algorithm)
    how: padding.AsymmetricPadding = padding.PKCS1v15()
    if algorithm.startswith("PS"):
        how = padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.AUTO)
    public.verify(signature, signed, how, digest)
    return True


def _curve(key: dict[str, Any], algorithm: str, signed: bytes, signature: bytes) -> bool:
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    curves: dict[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(),
    }  # fmt: skip
    public = ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curves[key["crv"]]).public_key()
    half = len(signature) // 2
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half : 2 * half]))
    public.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(_digest(algorithm)))
    return True


def _edwards(key: dict[str, Any], algorithm: str, signed: bytes, signature: bytes) -> bool:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    ed25519.Ed25519PublicKey.from_public_bytes(_bytes(key["x"])).verify(signature, signed)
    return True


def _digest(algorithm: str) -> "hashes.HashAlgorithm":
    from cryptography.hazmat.primitives import hashes

    return {"384": hashes.SHA384, "512": hashes.SHA512}.get(algorithm[2:], hashes.SHA256)()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")
