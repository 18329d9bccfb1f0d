"""AdmissionReview v1: a review in, an answer out. Nothing is written, so dry runs are as good as others."""

import time as _time
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from retic import findings, graph
from retic.kube import judge

log = structlog.get_logger(__name__)

_LONGEST_WARNING = 250
"""Characters; API servers cut warnings at 256 when there are many."""
_MOST_WARNINGS = 10


class _Request(msgspec.Struct, frozen=True, rename="camel"):
    uid: str
    operation: str = ""
    sub_resource: str = ""
    object: dict[str, Any] | None = None
    old_object: dict[str, Any] | None = None


class _Review(msgspec.Struct, frozen=True):
    request: _Request


def answer(mesh: graph.Graph, content: bytes) -> bytes:
    """The review that answers. ValueError (msgspec's) for what is no AdmissionReview.

    When the judgement itself fails, the object is admitted: a fault of ours must not stop anybody's work.
    """
    asked = msgspec.json.decode(content, type=_Review).request
    begun = _time.monotonic()
    verdict = judge.Verdict()
    if asked.operation in ("CREATE", "UPDATE") and asked.object and not asked.sub_resource:
        old = asked.old_object if asked.operation == "UPDATE" else None
        try:
            verdict = judge.judge(mesh, asked.object, old)
        except Exception:
            log.exception("an object could not be judged and was admitted", uid=asked.uid)
    took = _time.monotonic() - begun
    if took > 1.0:
        log.warning("a judgement took long", seconds=round(took, 3), kind=(asked.object or {}).get("kind"))
    return msgspec.json.encode(_review(asked.uid, verdict))


def _review(uid: str, verdict: judge.Verdict) -> dict[str, Any]:
    response: dict[str, Any] = {"uid": uid, "allowed": not verdict.refusals}
    if verdict.refusals:
        text = "; ".join(_said(each) for each in verdict.refusals)
        response["status"] = {"code": 422, "reason": "Invalid", "message": text[:4096]}
    warnings = [_said(each)[:_LONGEST_WARNING] for each in _shown(verdict.warnings)]
    if warnings:
        response["warnings"] = warnings
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def _shown(found: Sequence[findings.Finding]) -> Sequence[findings.Finding]:
    return sorted(found, key=lambda each: each.severity is not findings.Severity.ERROR)[:_MOST_WARNINGS]


def _said(found: findings.Finding) -> str:
    return f"{found.code} {found.message}: {found.fix}"
