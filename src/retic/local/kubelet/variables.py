"""`$(NAME)` in commands, arguments and values, exactly as Kubernetes expands it.

The rule is k8s.io/kubernetes/third_party/forked/golang/expansion: `$$` is one dollar sign and hides what
follows it, `$(NAME)` of a known name is its value, everything else stays as written. Knows no shell.
"""

from collections.abc import Mapping


def expand(text: str, known: Mapping[str, str]) -> str:
    """`text` with its references to `known` replaced; never fails."""
    out: list[str] = []
    at = 0
    while at < len(text):
        letter = text[at]
        if letter != "$" or at + 1 >= len(text):
            out.append(letter)
            at += 1
        elif text[at + 1] == "$":
            out.append("$")
            at += 2
        elif text[at + 1] == "(" and (end := text.find(")", at + 2)) >= 0:
            name = text[at + 2 : end]
            out.append(known.get(name, f"$({name})"))
            at = end + 1
        elif text[at + 1] == "(":
            out.append("$(")
            at += 2
        else:
            out.append(text[at : at + 2])
            at += 2
    return "".join(out)
