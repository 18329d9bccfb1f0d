"""The generators make everything that there is: a match or policy kind without one fails here, without a mesh."""

import json

import differential_features as features
import differential_requests as requests
import differential_rounds as rounds
import differential_world
import pytest

from retic.cli import analyze
from retic.explain.request import deciding
from retic.sources import manifests


@pytest.fixture
def worlds(tmp_path):
    """The world of each round, from files alone."""
    (tmp_path / "mesh.yaml").write_text(differential_world.base())
    first = analyze.world(manifests.load([tmp_path]))
    addresses = differential_world.addresses(first.objects)

    def made(number):
        text = "\n---\n".join(map(json.dumps, rounds.manifests(number, addresses)))
        (tmp_path / "round.yaml").write_text(text)
        return analyze.world(manifests.load([tmp_path])), addresses

    return made


def test_they_make_all_that_there_is(worlds, monkeypatch):
    seen = features.Recorder(monkeypatch)
    for number in range(rounds.ROUNDS):
        world, addresses = worlds(number)
        seen.objects(world.objects)
        for request in rounds.asked(number, addresses):
            assert deciding.decide(world, requests.asked(request, "192.0.2.1")).outcomes
    assert features.wanted() - seen.seen == set()
    # What cannot be made any more stands in no list of exceptions.
    assert seen.seen & set(features.LEFT_OUT) == set()
