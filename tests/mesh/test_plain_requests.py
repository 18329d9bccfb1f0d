"""What has two readings is let through nowhere where a policy compares it."""

import urllib.parse

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from retic import findings
from retic.mesh import patterns, plain_paths, plain_requests, policy
from retic.mesh.policy import Action, How, Pattern, Policy, Rule, Subject

PIECES = st.sampled_from([
    "/", "//", "a", "b", "A", "%61", "%41", "%2F", "%2f", ".", "..", "%2e", "%2E", ";", "%3B", ";x=1", "\\", "%5C",
    "[", "%5B", "%5b", "]", "|", "%7C", "^", "{", "%7B", "!", "%21", "+", "%2B", "%2b", "*", "%2A", "~", "%7E", "%7e",
    "%C3%A9", "%c3%a9", "%20", "%25", "%00", "%", "%u0061", "`", '"', "%22", "<", "%3C", "@", "%40", ":", "%3A",
])  # fmt: skip
PATHS = st.lists(PIECES, max_size=7).map(lambda pieces: "/" + "".join(pieces))
# As authors write: also with signs that a URL has escaped.
TEXTS = st.lists(st.sampled_from([*"ab/[]!+~é |", "%C3%A9", "%5B", "%21"]), min_size=1, max_size=6).map(
    lambda pieces: "/" + "".join(pieces)
)


def pattern_of(text, end):
    return patterns.path({"exact": text, "prefix": f"{text}*", "suffix": f"*{text}"}[end])


def server(path):
    """What the most obliging of servers makes of a path: decoded, parameters cut off, dots and slashes resolved."""
    decoded = urllib.parse.unquote_to_bytes(path).replace(b"\\", b"/")
    segments = [segment.split(b";")[0] for segment in decoded.split(b"/")]
    kept = []
    for segment in segments:
        if segment == b"..":
            kept = kept[:-1]
        elif segment not in (b".", b""):
            kept.append(segment)
    return b"/" + b"/".join(kept) + (b"/" if decoded.endswith(b"/") and kept else b"")


def matches(pattern, path):
    match pattern.how:
        case How.EXACT:
            return path == pattern.text
        case How.PREFIX:
            return path.startswith(pattern.text)
        case How.SUFFIX:
            return path.endswith(pattern.text)
        case How.REGEX:
            return bool(re2.fullmatch(pattern.text, path))
    return bool(path)


def readable(pattern, path):
    return bool(re2.fullmatch(plain_paths.readable([patterns.literals(pattern)]), path))


@settings(max_examples=1500)
@given(PATHS, PATHS, TEXTS, st.sampled_from(["exact", "prefix", "suffix"]))
def test_of_two_forms_of_one_path_never_one_matches_alone(one, other, text, end):
    pattern = pattern_of(text, end)
    if server(one) == server(other) and readable(pattern, one) and readable(pattern, other):
        assert matches(pattern, one) == matches(pattern, other), (one, other, pattern)


@settings(max_examples=1000)
@given(PATHS, TEXTS)
def test_an_exact_path_matches_what_a_server_takes_for_it_and_nothing_else(path, text):
    pattern = patterns.path(text)
    if readable(pattern, path) and "//" not in text:
        assert matches(pattern, path) == (server(path) == server(pattern.text)), (path, pattern)


@settings(max_examples=500)
@given(PATHS, st.sampled_from(["/a/{*}", "/{*}/b", "/a/{**}", "/{**}/b", "/[/{*}"]))
def test_a_template_sees_segments_as_a_server_does(path, text):
    pattern = patterns.path(text)
    for form in (path, urllib.parse.quote(urllib.parse.unquote(path), safe="/!+*@:=")):
        if readable(pattern, path) and readable(pattern, form) and server(path) == server(form):
            assert matches(pattern, path) == matches(pattern, form)


@pytest.mark.parametrize(("said", "path", "passes"), [
    ("/a", "/a", True), ("/a", "/A", True), ("/a", "/a/", True), ("/a", "/", True), ("/a", "/a.b/..c", True),
    ("/a", "/a/../a", False), ("/a", "/./a", False), ("/a", "//a", False), ("/a", "/a//", False), ("/a", "/%61", False),
    ("/a", "/a%2Fb", False), ("/a", "/a%2fb", False), ("/a", "/a;b", False), ("/a", "/a%3bb", False),
    ("/a", "/a\\b", False), ("/a", "/a%5cb", False), ("/a", "/a%00", False), ("/a", "/a%2500", False),
    ("/a", "/%2e%2e/a", False), ("/a", "/a/.", False), ("/a", "/a/..", False), ("/a", "/...", True),
    ("/a", "/%c3%a9", True), ("/a", "/%C3%A9", True), ("/é", "/%c3%a9", False), ("/é", "/%C3%A9", True),
    ("/a", "/x[1]", True), ("/a", "/x%5B1%5D", True), ("/a[", "/a[", False), ("/a[", "/a%5B", True),
    ("/a%5b", "/a[", False), ("/a", "/é", False), ("/a", "*", True), ("/a", "", True), ("/a", "/a%", False),
    ("/a", "/a%c0%af..", False), ("/a", "/a%FF", False), ("/a", "/a%F4%8f%BF%BF", True),
])  # fmt: skip
def test_paths(said, path, passes):
    assert readable(patterns.path(said), path) is passes


@pytest.mark.parametrize(("host", "passes"), [
    ("shop", True), ("shop:80", True), ("SHOP.example.", True), ("shop.example.:8080", True), ("10.1.2.3:80", True),
    ("[::1]:80", True), ("a_b", True), ("shop..", False),
    ("user@shop", False), ("sh%6Fp", False), ("shop:80:80", False),
    ("shop,other", False), ("shop other", False), ("", False), (".shop", False), ("shop:", False), ("shop/x", False),
])  # fmt: skip
def test_hosts(host, passes):
    assert bool(re2.fullmatch(plain_requests.HOST, host)) is passes


@pytest.mark.parametrize(("method", "passes"), [("GET", True), ("M-SEARCH", True), ("get", False), ("GeT", False)])
def test_methods(method, passes):
    assert bool(re2.fullmatch(plain_requests.METHOD, method)) is passes


def asking(subject, *how, action=Action.DENY, ports=(), dry_run=False, negated=False):
    test = policy.Test(subject, tuple(Pattern(h, "/x") for h in how), negated)
    ref = findings.Ref("AuthorizationPolicy", "a", "b")
    return Policy(ref, action, (Rule(0, operations=((test,),)),), ports, dry_run)


def test_only_what_is_compared_and_enforced_is_wanted():
    assert plain_requests.of([]) == ()
    assert plain_requests.of([asking(Subject.PATH, How.PRESENT)]) == ()
    assert plain_requests.of([asking(Subject.PATH, How.EXACT, action=Action.AUDIT)]) == ()
    assert plain_requests.of([asking(Subject.PATH, How.EXACT, dry_run=True)]) == ()
    assert plain_requests.of([asking(Subject.PORT, How.EXACT)]) == ()
    found = plain_requests.of([asking(Subject.HOST, How.EXACT), asking(Subject.METHOD, How.EXACT, negated=True)])
    assert [each.subject for each in found] == [Subject.HOST, Subject.METHOD]


def test_only_on_the_ports_that_such_a_policy_is_for():
    some, more = asking(Subject.PATH, How.EXACT, ports=(80, 81)), asking(Subject.PATH, How.EXACT, ports=(82,))
    assert [each.ports for each in plain_requests.of([some, more])] == [(80, 81, 82)]
    assert [each.ports for each in plain_requests.of([some, asking(Subject.PATH, How.EXACT)])] == [()]
