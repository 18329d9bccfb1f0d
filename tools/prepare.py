"""`python -m tools.prepare`: everything that a cluster, Retic on it and its tests are built of, within one budget.

Each part is printed with its duration. Past the budget (40 minutes, or RETIC_CLUSTER_BUDGET seconds) it fails naming
the part. What is there and current is not built again.
"""

import sys

from tools import image
from tools.cluster import steps, whole
from tools.conformance import build


def main() -> int:
    """1 with the part that failed, else 0."""
    run = steps.Steps()
    try:
        whole.prepare(run)
        image.build(run)
        build.everything(run)
    except (steps.FailedError, steps.OverBudgetError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    print(f"cluster: everything is built, in {run.elapsed:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
