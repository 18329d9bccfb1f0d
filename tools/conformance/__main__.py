"""`python -m tools.conformance [--write] [--only TEST]`: the suite against $KUBECONFIG, or `make cluster`.

Installs Retic there. Exits with 1 when a core test fails.
"""

import argparse
import pathlib
import sys
import tempfile

from tools import deploy
from tools.cluster import images as loading
from tools.cluster import places, steps, whole
from tools.conformance import beside, build, catalogue, images, listing, suite

PAGE = places.ROOT / "docs" / "conformance.md"


def main() -> int:
    """Exit code 1 for core tests that failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.conformance", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    parser.add_argument("--check", action="store_true", help=f"fail where docs/{PAGE.name} says something else")
    parser.add_argument("--only", default="", metavar="TEST", help="one test by its short name")
    given = parser.parse_args()
    run = steps.Steps()
    build.everything(run)
    source = build.folder(run)
    other = whole.given()
    kubeconfig = other or places.kubeconfig()
    deploy.deploy(kubeconfig, run)
    if not other:  # elsewhere the nodes pull the images, or have them already
        with run.part("images"), tempfile.TemporaryDirectory() as folder:
            for archive in images.archives(source, pathlib.Path(folder)):
                loading.load(archive)
    tests = catalogue.mesh(source)
    features = sorted({f for t in tests for f in t.features})
    with run.part("the tests"), beside.there(source, kubeconfig):
        verdicts = suite.run(kubeconfig, list(catalogue.PROFILES), features, only=given.only)
    if not verdicts:
        print("no test was run: the suite's own set-up failed", file=sys.stderr)
    for verdict in verdicts.values():
        print(f"{verdict.outcome:5} {verdict.name}", flush=True)
        if verdict.outcome == "fail":
            print("\n".join(f"      {line}" for line in verdict.output), flush=True)
    if given.only:
        return int(any(v.outcome == "fail" for v in verdicts.values()) or not verdicts)
    page = listing.text(build.release(), tests, verdicts)
    if given.write:
        PAGE.write_text(page)
    elif given.check and PAGE.read_text() != page:
        print(f"docs/{PAGE.name} says something else: run make conformance and look at the diff", file=sys.stderr)
        return 1
    failed = listing.missing(tests, verdicts)
    print(listing.summary(verdicts))
    if failed:
        print(f"core tests that failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
