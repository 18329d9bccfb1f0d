"""What the bench says of its numbers, and how it reads those of others."""


import pytest
from tools.bench import document, generators, spread, table


def test_a_ratio_is_made_of_pairs():
    ratio = spread.ratios([2, 4, 9], [1, 2, 3])
    assert (ratio.least, ratio.median, ratio.greatest) == (2, 2, 3)
    with pytest.raises(ValueError, match="argument"):
        spread.ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.05] * 10, "aim met"),
        ([1.15] * 10, "AIM MISSED"),
        ([1.0] * 5 + [1.2] * 5, "inconclusive"),
        ([1.0] * 9, "inconclusive (too few)"),
    ],
)
def test_the_verdict_on_an_aim_is_what_the_quartiles_bear_out(values, verdict):
    assert spread.against(spread.of(values), 1.1) == verdict


@pytest.mark.parametrize(
    ("values", "verdict"), [([0.8] * 10, "less"), ([1.2] * 10, "more"), ([0.9, 1.1] * 5, "inconclusive")]
)
def test_more_and_less_than_one(values, verdict):
    assert spread.against_one(spread.of(values)) == verdict


def test_nothing_measured_is_an_error():
    with pytest.raises(ValueError, match="nothing"):
        spread.of([])


def test_wrk_is_believed_only_when_every_request_succeeded():
    good = "  70000 requests in 2.00s, 80.1MB read\nRequests/sec:  35000.00\n"
    assert generators.parse_wrk(good) == 70000
    for bad in (
        good + "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
        good + "  Non-2xx or 3xx responses: 7\n",
        "  0 requests in 2.00s, 0.00B read\n",
    ):
        with pytest.raises(RuntimeError):
            generators.parse_wrk(bad)


def test_h2load_is_believed_only_when_every_request_succeeded():
    line = "requests: 99 total, 99 started, 99 done, {} succeeded, {} failed, 0 errored, 0 timeout\n"
    assert generators.parse_h2load(line.format(99, 0) + "status codes: 99 2xx, 0 3xx, 0 4xx, 0 5xx") == 99
    for bad in (line.format(98, 1) + "status codes: 98 2xx, 0 3xx", line.format(99, 0), ""):
        with pytest.raises(RuntimeError):
            generators.parse_h2load(bad)


def test_results_replace_what_is_between_the_markers_and_nothing_else(tmp_path):
    file = tmp_path / "b.md"
    file.write_text(f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n")
    document.replace(file, "new")
    assert file.read_text() == f"before\n{document.BEGIN}\n\nnew\n{document.END}\nafter\n"
    file.write_text("no markers")
    with pytest.raises(ValueError, match="must have"):
        document.replace(file, "new")


def test_a_table_is_aligned():
    shown = table.Table("Title", ("a", "long"), (("first", "1"),)).markdown()
    assert shown == "### Title\n\n| a     | long |\n|-------|------|\n| first | 1    |\n"
