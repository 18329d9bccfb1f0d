"""`python -m tools.image`: build Retic's image and print the archive's path; import it with `ctr image import`."""

import sys

from tools import image
from tools.cluster import steps


def main() -> int:
    """1 with the part that failed, else 0."""
    try:
        print(image.build())
    except (steps.FailedError, steps.OverBudgetError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
