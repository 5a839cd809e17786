"""The order of the examples: those that a newcomer wants first, the rest by name."""

FIRST = (
    "quickstart",
    "own_file",
    "smartwatch",
    "several_references",
    "editing_series",
    "explained_twin",
    "long_twin",
    "other_generator",
)
LAST = ("recordings", "rocket")


def by_need(filename):
    """A key to sort file names by."""
    stem = filename.removesuffix(".py")
    return (stem in LAST, FIRST.index(stem) if stem in FIRST else len(FIRST), stem)
