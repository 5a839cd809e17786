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
        self.people, self.person = np.unique(groups, return_inverse=True)
        order = np.argsort(self.person, kind="stable")
        self.records = np.split(order, np.cumsum(np.bincount(self.person))[:-1])
        self.several = np.array(
            [i for i, records in enumerate(self.records) if len(records) > 1], dtype=np.intp
        )
        self.true_share = true_share if len(self.several) else 0.0

    def draw(self, n: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return n first recordings, n second ones (row numbers), and the persons' numbers."""
        n_true = int(rng.binomial(n, self.true_share))
        people = np.concatenate(
            [self._some(self.several, n_true, rng), self._some(len(self.people), n - n_true, rng)]
        )
        first = np.array([rng.choice(self.records[person]) for person in people], dtype=np.intp)
        return first, self.partners(first, rng), people

    def partners(self, rows: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return for each recording another one of its person, or itself where there is none."""
        out = rows.copy()
        for i, row in enumerate(rows):
            others = self.records[self.person[row]]
            if len(others) > 1:
                out[i] = rng.choice(others[others != row])
        return out

    @staticmethod
    def _some(of: Any, n: int, rng: np.random.Generator) -> NDArray[Any]:
        """Draw n without repeats as long as there are enough."""
        size = of if isinstance(of, int) else len(of)
        if n == 0:
            return np.empty(0, dtype=np.intp)
        return np.asarray(rng.choice(of, n, replace=n > size))
