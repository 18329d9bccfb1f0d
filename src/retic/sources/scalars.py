"""What a plain YAML scalar means, as sigs.k8s.io/yaml (go-yaml v2, YAML 1.1) has it, which kubectl uses.

`yes`, `on` and `y` are true; 010 is 8; 1_000 is 1000; 12:30:00 and dates are text. Pure functions.
"""

import math
import re

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_INTEGERS = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+\Z"), 16),
    (re.compile(r"[-+]?0[bB][01]+\Z"), 2),
    (re.compile(r"[-+]?0[oO]?[0-7]+\Z"), 8),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), 10),
)

Scalar = str | int | float | bool | None


def plain(text: str) -> Scalar:
    """The value of an unquoted, untagged scalar. Whole numbers beyond 64 bits become floats, as in Go."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    for pattern, base in _INTEGERS:
        if pattern.match(digits):
            return _bounded(int(digits, base))
    return float(digits) if _FLOAT.match(digits) else text


def _bounded(number: int) -> int | float:
    return number if -(1 << 63) <= number < (1 << 64) else float(number)


def tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar with an explicit tag. ValueError when the two do not fit."""
    value = plain(text)
    match tag.removeprefix("tag:yaml.org,2002:"):
        case "str" | "timestamp" | "binary":
            return text
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "bool" if isinstance(value, bool):
            return value
        case "null" if value is None:
            return None
    raise ValueError(f"the tag {tag} does not fit {text!r}")
