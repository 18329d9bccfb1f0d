"""Thousands of generated requests under generated routes and policies, through real Envoys and through `explain`: what
was seen is always among what was foreseen, to the head of the request as the application gets it."""

import differential_compare as compare
import differential_features as features
import differential_requests as requests
import differential_rounds as rounds
import pytest

from retic.explain.request import deciding


COUNT = []
T=[]
def _differences(mesh, given):
    here = mesh.world()
    found = []
    for request, raw in zip(given, mesh.send(given), strict=True):
        seen = compare.Seen(request, raw)
        decision = deciding.decide(here, requests.asked(request, mesh.outside))
        COUNT.append((bool(seen.pod), seen.status, seen.grpc))
        if not any(compare.fits(seen, outcome) for outcome in decision.outcomes):
            found.append((request, seen, decision))
    return found


def _shown(number, request, seen, decision):
    steps = "\n    ".join(f"{s.what}: {s.text} [{s.object}:{s.line}]" for s in decision.answer.steps)
    outcomes = "\n    ".join(map(str, decision.outcomes))
    return f"round {number}: {request}\n  seen {seen}\n  foreseen\n    {outcomes}\n  by\n    {steps}"


@pytest.mark.timeout(280)
def test_what_was_foreseen_is_what_happens(mesh, monkeypatch):
    recorder = features.Recorder(monkeypatch)
    different, sent = [], 0
    for number in range(rounds.ROUNDS):
        import time; t0=time.time()
        mesh.write(number, rounds.manifests(number, mesh.addresses))
        t1=time.time()
        recorder.objects(mesh.kept.objects)
        given = rounds.asked(number, mesh.addresses)
        sent += len(given)
        # A proxy's workers may be a moment behind what its main thread has acknowledged: who differs is asked again.
        again = [request for request, _, _ in _differences(mesh, given)]
        T.append((round(t1-t0,2), round(time.time()-t1,2)))
        different += [_shown(number, *each) for each in _differences(mesh, again)]
    import collections, sys; print(T, collections.Counter(COUNT), file=sys.stderr)
    assert not different, f"{len(different)} of {sent} differ\n" + "\n\n".join(different[:12])
    assert sent >= 2_000
    assert features.wanted() - recorder.seen == set()
