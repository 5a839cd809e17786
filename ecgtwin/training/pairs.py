"""Which two recordings of a person make a pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class PairSampler:
    """Draws pairs of recordings of one person.

    A person with several recordings gives true pairs, across time and condition. A person with one
    gives that recording twice: two windows or lead subsets of it are then a pair.

    Parameters
    ----------
    groups : array (n,)
        The person of each recording.
    true_share : float
        The share of pairs drawn from persons with several recordings, if there are any.

    Examples
    --------
    >>> pairs = PairSampler(np.array(["a", "a", "b"]), true_share=1.0)
    >>> first, second, people = pairs.draw(4, np.random.default_rng(0))
    >>> bool(np.all(first != second)), people.tolist()
    (True, [0, 0, 0, 0])
    """

    def __init__(self, groups: NDArray[Any], true_share: float = 0.5) -> None:
        self.people, self.person, self.count = np.unique(groups, return_inverse=True, return_counts=True)
        self.order = np.argsort(self.person, kind="stable")  # the recordings, person by person
        self.start = np.cumsum(self.count) - self.count
        self.place = np.empty_like(self.order)  # of each recording among its person's
        self.place[self.order] = np.arange(len(self.order)) - np.repeat(self.start, self.count)
        self.several = np.flatnonzero(self.count > 1)
        self.true_share = true_share if len(self.several) else 0.0

    def draw(self, n: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return n first recordings, n second ones (row numbers), and the persons' numbers."""
        n_true = int(rng.binomial(n, self.true_share))
        people = np.concatenate(
            [self._some(self.several, n_true, rng), self._some(len(self.people), n - n_true, rng)]
        )
        first = self.order[self.start[people] + rng.integers(self.count[people])]
        return first, self.partners(first, rng), people

    def partners(self, rows: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return for each recording another one of its person, or itself where there is none."""
        person = self.person[rows]
        count = self.count[person]
        further = np.where(count > 1, rng.integers(1, np.maximum(count, 2)), 0)
        return self.order[self.start[person] + (self.place[rows] + further) % count]

    @staticmethod
    def _some(of: Any, n: int, rng: np.random.Generator) -> NDArray[Any]:
        """Draw n without repeats as long as there are enough."""
        size = of if isinstance(of, int) else len(of)
        if n == 0:
            return np.empty(0, dtype=np.intp)
        return np.asarray(rng.choice(of, n, replace=n > size))
