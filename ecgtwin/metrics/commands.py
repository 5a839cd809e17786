"""What the commands that measure edits, explanations and settings share: their arguments, and their files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from ..files import write_whole
from .bootstrap import Figure


def arguments(
    name: str, description: str | None, *, counted: str, n: int = 30, skips: bool = True
) -> argparse.ArgumentParser:
    """Return the parser of ``python -m ecgtwin.metrics.NAME``.

    `counted` says what `-n` counts, `n` how many there are by default, `skips` whether some can be left out.
    """
    parser = argparse.ArgumentParser(prog=f"python -m ecgtwin.metrics.{name}", description=description)
    parser.add_argument("--data", type=Path, required=True, help="PTB-XL in its published layout")
    parser.add_argument("--folds", type=int, nargs="+", default=[9])
    parser.add_argument("--out", type=Path, required=True, help="file for the figures, in JSON")
    parser.add_argument("-n", type=int, default=n, help=counted)
    if skips:
        parser.add_argument(
            "--skip", type=int, default=0, help="how many to leave out first, if something was chosen on them"
        )
    parser.add_argument("--checkpoint", default="default")
    return parser


def write_figures(path: Path, tables: Mapping[str, Mapping[str, Figure]]) -> None:
    """Write tables of figures, with their intervals, as JSON."""
    figures = {name: {key: one.as_dict() for key, one in row.items()} for name, row in tables.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(figures, indent=1) + "\n").encode())
