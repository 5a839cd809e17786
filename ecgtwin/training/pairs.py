"""Which recordings are drawn: one of a group that is drawn first, or two that make a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Members:
    """The rows of groups, one group after the other.

    Parameters
    ----------
    rows : int array (n,)
    start, count : int arrays (g,)
        Where in `rows` each group begins, and how many it has.

    Examples
    --------
    >>> members = Members.of(np.array([1, 0, 1]))
    >>> members.one_of(np.array([0, 0]), np.random.default_rng(0)).tolist()
    [1, 1]
    """

    rows: NDArray[Any]
    start: NDArray[Any]
    count: NDArray[Any]

    @classmethod
    def of(cls, groups: NDArray[Any], rows: NDArray[Any] | None = None) -> Self:
        """Sort rows, by default 0 to n - 1, by the numbers of their groups ``(n,)``."""
        order = np.argsort(groups, kind="stable")
        _, count = np.unique(groups, return_counts=True)
        return cls(order if rows is None else rows[order], np.cumsum(count) - count, count)

    def __len__(self) -> int:
        return len(self.count)

    def of_size(self, least: int) -> Members:
        """Return the groups that have so many rows or more."""
        large = self.count >= least
        return Members(self.rows, self.start[large], self.count[large])

    def one_of(self, groups: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Draw a row of each of these groups."""
        return self.rows[self.start[groups] + rng.integers(self.count[groups])]


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
        self.recordings = Members.of(self.person)
        rows, start, count = self.recordings.rows, self.recordings.start, self.recordings.count
        self.place = np.empty_like(rows)  # of each recording among its person's
        self.place[rows] = np.arange(len(rows)) - np.repeat(start, count)
        self.several = np.flatnonzero(count > 1)
        self.true_share = true_share if len(self.several) else 0.0

    def draw(self, n: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return n first recordings, n second ones (row numbers), and the persons' numbers."""
        n_true = int(rng.binomial(n, self.true_share))
        people = np.concatenate(
            [self._some(self.several, n_true, rng), self._some(len(self.people), n - n_true, rng)]
        )
        first = self.recordings.one_of(people, rng)
        return first, self.partners(first, rng), people

    def partners(self, rows: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return for each recording another one of its person, or itself where there is none."""
        person = self.person[rows]
        count = self.recordings.count[person]
        further = np.where(count > 1, rng.integers(1, np.maximum(count, 2)), 0)
        return self.recordings.rows[self.recordings.start[person] + (self.place[rows] + further) % count]

    @staticmethod
    def _some(of: Any, n: int, rng: np.random.Generator) -> NDArray[Any]:
        """Draw n without repeats as long as there are enough."""
        size = of if isinstance(of, int) else len(of)
        if n == 0:
            return np.empty(0, dtype=np.intp)
        return np.asarray(rng.choice(of, n, replace=n > size))
