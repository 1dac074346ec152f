"""One cell in a process of its own: ``python -m palaestra.trainers.experiments.cell NAME ARM SEED SCALE ROOT``."""

from __future__ import annotations

import sys
from pathlib import Path

from palaestra.envs.errors import PalaestraError
from palaestra.trainers.experiments import find
from palaestra.trainers.experiments.framework import Cell, run_cell


def main(arguments: list[str]) -> int:
    """Run the cell; errors meant for a user become one line."""
    name, arm, seed, scale, root = arguments
    experiment = find(name)
    folder = Path(root) / "runs" / "experiments" / name / scale / f"{arm}-{seed}"
    try:
        run_cell(
            experiment, Cell(name, experiment.arm(arm).name, int(seed), "gpu" if scale == "gpu" else "cpu", folder)
        )
    except PalaestraError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
