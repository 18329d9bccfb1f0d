"""Write charts/retic anew from src/retic/install: `make chart`. `--check` writes nothing, exits 1 on a difference."""

import pathlib
import sys

from retic.install import chart

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "charts" / "retic"


def main() -> int:
    """Write, or with `--check` compare."""
    if "--check" not in sys.argv[1:]:
        chart.write(FOLDER)
        return 0
    have = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*") if path.is_file()}
    if have == chart.files():
        return 0
    print("charts/retic is not what the code says: run `make chart`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
