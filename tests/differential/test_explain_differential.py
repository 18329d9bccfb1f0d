"""Thousands of generated requests under generated routes and policies, through real Envoys and through `explain`: what
was seen is always among what was foreseen, to the head of the request as the application gets it.

SEED and ROUNDS in the environment make it go elsewhere, and further.
"""

import differential_compare as compare
import differential_features as features
import differential_requests as requests
import differential_rounds as rounds
import pytest

from retic.explain.request import deciding


def _differences(mesh, given, *, fresh=False):
    here = mesh.world()
    found = []
    for request, raw in zip(given, mesh.send(given, fresh=fresh), strict=True):
        seen = compare.Seen(request, raw)
        decision = deciding.decide(here, requests.asked(request, mesh.outside))
        if not any(compare.fits(seen, outcome) for outcome in decision.outcomes):
            found.append((request, seen, decision))
    return found


def _shown(number, request, seen, decision):
    steps = "\n    ".join(f"{s.what}: {s.text} [{s.object}:{s.line}]" for s in decision.answer.steps)
    outcomes = "\n    ".join(map(str, decision.outcomes))
    return f"round {number}: {request}\n  seen {seen}\n  foreseen\n    {outcomes}\n  by\n    {steps}"


def test_what_was_foreseen_is_what_happens(mesh, monkeypatch):
    recorder = features.Recorder(monkeypatch)
    different, sent = [], 0
    for number in range(rounds.ROUNDS):
        mesh.write(number, rounds.manifests(number, mesh.addresses))
        recorder.objects(mesh.kept.objects)
        given = rounds.asked(number, mesh.addresses)
        sent += len(given)
        found = _differences(mesh, given)
        # A proxy's workers may be a moment behind what its main thread has acknowledged. And on a busy machine a sender
        # may be silent between its connection and its first byte for so long that it is taken for one that speaks no
        # HTTP, until the connection ends (envoy.limits, SNIFF_SECONDS). Who differs is asked again, on a new one.
        for _ in range(3):
            found = _differences(mesh, [request for request, _, _ in found], fresh=True)
        different += [_shown(number, *each) for each in found]
    if different:
        pytest.fail(f"{len(different)} of {sent} differ\n" + "\n\n".join(different[:12]), pytrace=False)
    assert sent >= 2_000
    # What was generated was also come past: no policy that nobody met, no match that nobody tried.
    assert features.wanted() - recorder.seen == set()
