"""What stays when an edit breaks a file, and what goes."""

from retic.sources import manifests
from retic.sources.merge import merge

ONE = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {v: first}\n"
TWO = ONE.replace("one", "two")
BAD_TWO = TWO.replace("first", "2")
CUT = "apiVersion: v1\nkind: [\n"


def steps(tmp_path, *texts):
    """What is left after the file had each of these texts in turn; None removes it."""
    file, loaded = tmp_path / "it.yaml", None
    for text in texts:
        if text is None:
            file.unlink()
        else:
            file.write_text("---\n".join(text))
        now = manifests.load([tmp_path])
        loaded = merge(loaded, now) if loaded else now
    return loaded


def held(loaded):
    return {each.object.metadata.name: each.object.data["v"] for each in loaded.objects}


def test_a_broken_object_stays_as_it_was_and_the_finding_says_so(tmp_path):
    loaded = steps(tmp_path, [ONE, TWO], [ONE.replace("first", "second"), BAD_TWO])
    assert held(loaded) == {"one": "second", "two": "first"}
    (found,) = loaded.findings
    assert found.message.endswith("its last good state stays")


def test_it_stays_through_a_second_broken_edit_and_is_replaced_by_a_good_one(tmp_path):
    assert held(steps(tmp_path, [TWO], [BAD_TWO], [CUT])) == {"two": "first"}
    again = steps(tmp_path, [TWO], [BAD_TWO], [TWO.replace("first", "third")])
    assert held(again) == {"two": "third"}
    assert again.findings == ()


def test_a_syntax_error_keeps_what_the_file_held(tmp_path):
    loaded = steps(tmp_path, [ONE, TWO], [ONE.replace("first", "second"), CUT])
    assert held(loaded) == {"one": "second", "two": "first"}
    (found,) = loaded.findings
    assert found.message.endswith("what it held before stays")


def test_what_is_removed_goes(tmp_path):
    assert held(steps(tmp_path, [ONE, TWO], [ONE])) == {"one": "first"}
    assert held(steps(tmp_path, [ONE, TWO], None)) == {}
    assert held(steps(tmp_path, [ONE, TWO], [BAD_TWO])) == {"two": "first"}


def test_another_broken_file_keeps_nothing_here(tmp_path):
    (tmp_path / "other.yaml").write_text(CUT)
    assert held(steps(tmp_path, [ONE, TWO], [ONE])) == {"one": "first"}


def test_an_object_that_moved_to_another_file_is_taken_from_there(tmp_path):
    before = steps(tmp_path, [ONE])
    (tmp_path / "it.yaml").write_text(CUT)
    (tmp_path / "new.yaml").write_text(ONE.replace("first", "moved"))
    assert held(merge(before, manifests.load([tmp_path]))) == {"one": "moved"}


def test_a_document_without_a_name_keeps_what_its_file_held(tmp_path):
    assert held(steps(tmp_path, [ONE], [ONE.replace("name: one", "nam: one")])) == {"one": "first"}


def test_a_folder_that_cannot_be_read_keeps_what_is_below_it(tmp_path):
    inner, other = tmp_path / "in", tmp_path / "in-other"
    for folder, text in ((inner, ONE), (other, TWO)):
        folder.mkdir()
        (folder / "it.yaml").write_text(text)
    before = manifests.load([inner, other])
    inner.rename(tmp_path / "away")
    (other / "it.yaml").unlink()
    now = merge(before, manifests.load([inner, other]))
    assert held(now) == {"one": "first"}, "what a folder that can be read no longer has goes"
    assert [(each.code, each.file) for each in now.findings] == [("RT0009", str(inner))]
    assert held(merge(now, manifests.load([inner, other]))) == {"one": "first"}


POLICY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p}
spec: {rules: [{from: [{source: {principals: [FIELD]}}]}]}
"""
GOOD, TYPO, OTHER_TYPO = POLICY, POLICY.replace("principals", "princpals"), POLICY.replace("spec", "sepc")


def policies(loaded):
    return [(each.is_closed, bool(each.object.spec.rules)) for each in loaded.objects]


def test_a_policy_that_can_be_read_stays_before_one_that_cannot(tmp_path):
    loaded = steps(tmp_path, [GOOD], [TYPO], [OTHER_TYPO])
    assert policies(loaded) == [(False, True)]
    (found,) = loaded.findings
    assert (found.code, found.message.endswith("; its last good state stays")) == ("RT0433", True)
    assert policies(steps(tmp_path, [GOOD], [TYPO], [CUT])) == [(False, True)]


def test_one_that_never_could_be_read_is_the_latest_that_was_written(tmp_path):
    loaded = steps(tmp_path, [TYPO], [OTHER_TYPO])
    assert policies(loaded) == [(True, False)]
    assert "its last good state" not in loaded.findings[0].message
    assert policies(steps(tmp_path, [TYPO], [CUT])) == [(True, True)]
    assert policies(steps(tmp_path, [TYPO], [GOOD])) == [(False, True)]
    assert not [each for each in steps(tmp_path, [TYPO], [ONE]).objects if each.is_closed], "what is removed goes"
