"""YAML as kubectl reads it, with the line of every field; hostile files are refused, not suffered."""

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from retic.sources import documents, model, scalars


def read(text):
    return list(documents.read(text if isinstance(text, bytes) else text.encode()))


def one(text):
    (document,) = read(text)
    return document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("y", True),
        ("010", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("~", None),
        ("", None),
        ("null", None),
        ("v1", "v1"),
        ("1.2.3", "1.2.3"),
        ("08", 8.0),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        (".", "."),
        ("-", "-"),
        ("10.0.0.1", "10.0.0.1"),
        ("99999999999999999999999", 1e23),
        ("1e", "1e"),
        ("yEs", "yEs"),
    ],
)
def test_plain_scalars_mean_what_kubectl_makes_of_them(text, value):
    found = scalars.plain(text)
    assert found == value
    assert type(found) is type(value)


def test_quotes_and_tags_keep_texts():
    document = one("a: 'yes'\nb: !!str 12\nc: \"010\"\nd: |\n  1\ne: !!int '7'\nf: !!float 2\n")
    assert document.value == {"a": "yes", "b": "12", "c": "010", "d": "1\n", "e": 7, "f": 2.0}
    assert document.faults == ()


def test_a_tag_that_does_not_fit_is_a_fault():
    assert [fault.line for fault in one("a: 1\nb: !vault x\n").faults] == [2]


def test_every_field_has_its_line():
    document = one("# first\na:\n  b:\n  - c: 1\n    d: {e: 2,\n        f: 3}\n  x.y/z: 4\n")
    assert document.fields == {
        "a": 2,
        "a.b": 3,
        "a.b[0]": 4,
        "a.b[0].c": 4,
        "a.b[0].d": 5,
        "a.b[0].d.e": 5,
        "a.b[0].d.f": 6,
        "a[x.y/z]": 7,
    }


def test_positions_fall_back_to_what_is_around():
    position = model.Position("f", 1, {"a": 2, "a.b": 3, "a.b[0]": 4, "a[x.y/z]": 7})
    paths = {"a.b[0].c.d": 4, "a.b[9].c": 3, "a.q": 2, "a[x.y/z]": 7, "a[p.q/r]": 2, "nope": 1, "": 1}
    assert {path: position.at(path) for path in paths} == paths


def test_anchors_and_merge_keys():
    document = one("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\nc:\n  <<: [{p: 9}, *x]\nd: *x\n")
    assert document.value["b"] == {"p": 1, "q": 3}
    assert document.value["c"] == {"p": 9, "q": 2}
    assert document.value["d"] == {"p": 1, "q": 2}
    assert document.fields["b.q"] == 4


@pytest.mark.parametrize("text", ["a: {<<: 1}", "a: {<<: [1]}"])
def test_merging_what_is_no_mapping_is_a_fault(text):
    assert [fault.code for fault in one(text).faults] == ["RT0001"]


def test_duplicate_keys_are_faults_with_both_lines():
    document = one("a:\n  b: 1\n  c: 2\n  b: 3\n")
    (fault,) = document.faults
    assert (fault.code, fault.line, document.value) == ("RT0012", 4, {"a": {"b": 1, "c": 2}})
    assert "a.b" in fault.message
    assert "line 2" in fault.message


def test_documents_before_a_syntax_error_are_read():
    good, fault = read("a: 1\n---\nb: [\n")
    assert good.value == {"a": 1}
    assert (fault.code, fault.fatal) == ("RT0001", True)


def test_empty_documents_are_left_out():
    assert [document.value for document in read("---\n# nothing\n---\na: 1\n---\n")] == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a:\n\tb: 1", 2, "spaces"),
        ("a: 1\nb: {{ .Values.x }}\n", 2, "template"),
        (b"a: 1\nb: \xff", 2, "UTF-8"),
        ("a: 1\nb: \x00", 2, "character"),
        ("a: *nope", 1, "alias"),
        ("? [a]\n: b", 1, "key"),
    ],
)
def test_faults_say_line_and_cure(text, line, words):
    fault = read(text)[-1]
    assert isinstance(fault, documents.Fault)
    assert fault.line == line
    assert words in fault.message + fault.fix


BOMB = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 200_000, "RT0001"),
        ("- " * 200_000, "RT0001"),
        ("{a: " * 5000, "RT0001"),
        ("a: &x [*x]", "RT0001"),
        ("a: &x\n  <<: *x\n", "RT0001"),
        (BOMB, "RT0013"),
        ("a: " + "x" * documents.MAX_BYTES, "RT0013"),
        ("\n".join(" " * i + "a:" for i in range(3000)), "RT0001"),
    ],
    ids=["flow", "block", "mapping", "self", "merge-self", "aliases", "size", "indent"],
)
def test_hostile_files_end_in_a_finding(text, code):
    (fault,) = [each for each in read(text) if isinstance(each, documents.Fault)]
    assert (fault.code, fault.fatal) == (code, True)


def test_a_file_that_is_too_big_is_said_to_be_longer_than_the_limit_only():
    (fault,) = list(documents.read(b" " * (documents.MAX_BYTES + 1)))
    assert fault.message == f"the file has more than the {documents.MAX_BYTES} bytes that are read"


def test_many_brackets_alone_are_fine():
    assert len(one("a: [" + "{}," * 2000 + "]").value["a"]) == 2000


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8", exclude_categories=("C",))),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz.-/0", min_size=1, max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(st.dictionaries(st.text("abc", min_size=1), VALUES, min_size=1))
def test_what_is_written_is_read(value):
    # quoted: PyYAML leaves y and n bare, which Kubernetes reads as true and false
    text = yaml.safe_dump(value, allow_unicode=True, default_style='"')
    assert one(text).value == value


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
@hypothesis.given(st.text("ab:-[]{}&*!|>'\"#%@`,?~ \n\t01<", max_size=40))
def test_no_text_is_too_strange(text):
    for each in read(text):
        assert isinstance(each, documents.Document | documents.Fault)
