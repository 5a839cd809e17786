"""The examples of the gallery: which of them run while the pages are built, and in what order all stand."""

RUN = (
    "quickstart",
    "own_file",
    "smartwatch",
    "several_references",
    "invented_patient",
    "editing_series",
    "explained_twin",
    "long_twin",
    "other_generator",
)
"""Examples that end within seconds on what the package ships; the others are shown, not run."""

LAST = ("recordings", "rocket")
"""What other examples import."""


def by_need(filename: str) -> tuple[bool, int, str]:
    """A key that brings what a newcomer wants first to the front."""
    stem = filename.removesuffix(".py")
    return stem in LAST, RUN.index(stem) if stem in RUN else len(RUN), stem
