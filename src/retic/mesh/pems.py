"""Whether a text is certificates, as far as that is known without reading what they say."""

import base64
import binascii
import re

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\s]+?)\n?-----END CERTIFICATE-----")
_SEQUENCE = 0x30  # what an X.509 certificate is in DER


def is_certificates(text: str) -> bool:
    """Whether there is at least one in PEM (RFC 7468, section 5.1), and each is whole."""
    text = text.replace("\r\n", "\n")
    if not text.isascii():
        return False
    blocks = _BLOCK.findall(text)
    return bool(blocks) and text.count("-----BEGIN ") == len(blocks) and all(map(_is_whole, blocks))


def _is_whole(block: str) -> bool:
    """One value of DER, neither cut off nor followed by anything (X.690, section 8.1.3)."""
    try:
        data = base64.b64decode("".join(block.split()), validate=True)
    except binascii.Error:
        return False
    if len(data) < 2 or data[0] != _SEQUENCE:
        return False
    more = data[1] & 0x7F if data[1] & 0x80 else 0
    length = int.from_bytes(data[2 : 2 + more]) if more else data[1]
    return len(data) == 2 + more + length
