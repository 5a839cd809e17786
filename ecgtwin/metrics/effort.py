"""How much a report looks at, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RARE_DRAWS = 5
"""How often the real examples of a rare statement are drawn."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything a report looks at.

    Parameters
    ----------
    references : int
        Twins drawn, one for each reference.
    others : int
        ECGs of the arms population and stranger.
    folds : int
        Training folds that are read.
    members : int
        Recordings on each side of the attack by denoising error.
    member_twins : int
        On each side of the attack by nearest twin.
    training_twins : int
        Twins that a classifier is trained on.
    rare_statements, rare_references : int
        Statements that are augmented, and twins for each draw of real examples.
    patients, patient_twins : int
        Patients a classifier is adapted to, and twins of each.
    kernels : int
        Of the classifier that measures utility.
    """

    references: int
    others: int
    folds: int
    members: int
    member_twins: int
    training_twins: int
    rare_statements: int
    rare_references: int
    patients: int
    patient_twins: int
    kernels: int

    @property
    def twins(self) -> int:
        """All ECGs that are drawn."""
        return (
            self.references
            + 2 * self.others
            + 2 * self.member_twins
            + self.training_twins
            + RARE_DRAWS * self.rare_statements * self.rare_references
            + self.patients * self.patient_twins
        )


class Progress:
    """One bar for everything: it counts ECGs drawn and says what is being done."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.last = bar, 0

    def expect(self, n: int) -> None:
        self.bar.total = n
        self.bar.refresh()

    def drawn(self, done: int, of: int) -> None:
        self.bar.update(done - self.last)
        self.last = 0 if done == of else done

    def did(self, name: str) -> None:
        self.bar.set_postfix_str(name)
