"""Cardiac conditions: what a user may ask an ECG to show, and how it is written."""

import ast
import dataclasses
import math
import numbers
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .exceptions import ConditionError, QualityWarning
from .statements import (
    EXCLUSIVE,
    STATEMENTS,
    TEXT_LIMIT,
    Statement,
    known_code,
    read_sex,
    read_text,
    statement,
    statement_table,
)

__all__ = [
    "HEART_RATE_RANGE",
    "STATEMENTS",
    "TEXT_LIMIT",
    "Condition",
    "Statement",
    "statement",
    "statement_matrix",
    "statement_table",
]

HEART_RATE_RANGE = (20.0, 300.0)
"""Heart rates a condition may ask for, beats per minute, both ends allowed."""

_AGE_RANGE = (0.0, 120.0)
_OVER_89 = 90.0
_ROW_LIMIT = 4_096
# A few beats either side of the textbook limits, for a rate is itself measured with an error.
_RHYTHM_RATES = {"SR": (50.0, 110.0), "SBRAD": (20.0, 65.0), "STACH": (95.0, 300.0), "SVTAC": (95.0, 300.0)}


def _missing(value: object) -> bool:
    """None, NaN, pandas' NA and the empty cell of a csv."""
    if isinstance(value, str):
        return value.strip().lower() in ("", "nan")
    return (
        value is None
        or type(value).__name__ == "NAType"
        or (isinstance(value, numbers.Real) and value != value)
    )


def _real(value: Any) -> float:
    """The number that a value or its text is; NaN for what is none, a bool among them."""
    try:
        return math.nan if type(value).__name__ in ("bool", "bool_") else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(value[:40])
    return repr(value) if isinstance(value, int | float) and abs(value) < 1e9 else f"a {type(value).__name__}"


def _check_number(value: Any, field: str, low: float, high: float, unit: str) -> float | None:
    if _missing(value):
        return None
    number = _real(value)
    if not low <= number <= high:
        raise ConditionError(f"{field} must be a number in {low:g}-{high:g} {unit}, got {_shown(value)}")
    return number


def _check_age(value: Any) -> float | None:
    age = _check_number(value, "age", 0, 300, "years")
    if age == 300:
        warnings.warn("age 300 is PTB-XL's mark for over 89; read as 90 years", QualityWarning, stacklevel=4)
        return _OVER_89
    return _check_number(age, "age", *_AGE_RANGE, "years")


def _check_sex(value: Any) -> str | None:
    if _missing(value):
        return None
    sex = {0.0: "M", 1.0: "F"}.get(_real(value))
    if isinstance(value, str) and sex is None:
        sex = read_sex(value)
    if sex is None:
        message = f"sex {_shown(value)} is neither 'F' nor 'M'; left to the model"
        warnings.warn(message, QualityWarning, stacklevel=4)
    return sex


def _check_heart_rate(value: Any) -> float | None:
    return _check_number(value, "heart_rate", *HEART_RATE_RANGE, "beats per minute")


def _check_statements(value: Any) -> tuple[str, ...]:
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise ConditionError(f"statements must be codes, got a {type(value).__name__}; see Condition.parse")
    codes = set()
    for code in (value,) if isinstance(value, str) else value:
        if not isinstance(code, str):
            raise ConditionError(
                f"statements must be codes, got a {type(code).__name__}; see Condition.parse"
            )
        codes.add(known_code(code))
    return tuple(sorted(codes, key=STATEMENTS.index))


def _row_codes(cell: Any) -> list[str]:
    """Codes of a `scp_codes` cell: a dict of likelihoods, or that dict as text."""
    if isinstance(cell, str) and not _missing(cell):
        try:
            if len(cell) > _ROW_LIMIT:
                raise ValueError
            cell = ast.literal_eval(cell.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            cell = ()
    if _missing(cell):
        return []
    if not isinstance(cell, Mapping):
        raise ConditionError("scp_codes must be a dict of codes and likelihoods, or one written as text")
    return list(cell)


def _fields(obj: Any) -> dict[str, Any]:
    """The fields of a condition that any readable object names."""
    if isinstance(obj, Condition):
        return {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}
    if isinstance(obj, str):
        return read_text(obj, strict=True)
    if _missing(obj):
        return {}
    if isinstance(obj, numbers.Integral) and 0 < _real(obj) < 1e18:
        return read_text(str(int(obj)), strict=True)
    if hasattr(obj, "keys"):  # a pandas row has keys, yet is no Mapping
        row = {key: obj[key] for key in obj.keys()}  # noqa: SIM118
        if "scp_codes" in row:
            age = _OVER_89 if str(row.get("age")) in ("300", "300.0") else row.get("age")
            return {"statements": _row_codes(row["scp_codes"]), "age": age, "sex": row.get("sex")}
        if unknown := [key for key in row if key not in ("statements", "age", "sex", "heart_rate")]:
            raise ConditionError(f"a condition has no field {_shown(unknown[0])}")
        said = {key: value for key, value in row.items() if key != "statements" and value is not None}
        return _fields(row.get("statements")) | said
    if isinstance(obj, Iterable) and not isinstance(obj, bytes):
        merged: dict[str, Any] = {"statements": []}
        for item in obj:
            if not isinstance(item, str | Condition | numbers.Integral) and not _missing(item):
                raise ConditionError(f"a list of statements cannot hold a {type(item).__name__}")
            found = _fields(item)
            merged["statements"] += found.pop("statements", ())
            merged |= {field: value for field, value in found.items() if value is not None}
        return merged
    raise ConditionError(f"cannot read a condition from a {type(obj).__name__}")


@dataclass(frozen=True)
class Condition:
    """What an ECG is to show: statements, age, sex and heart rate, each of them optional.

    A field left out is left to the model; ``Condition()`` asks for nothing and is unconditional.

    Parameters
    ----------
    statements : str or iterable of str
        SCP-ECG codes in any case. Kept without repetition, in the order of `STATEMENTS`.
    age : float, numeric str or None
        Years, 0-120. PTB-XL's 300 (over 89) is read as 90 with a `QualityWarning`; NaN as None.
    sex : {"F", "M"} or None
        Also "female" and "male" in any case, and PTB-XL's 0 (male) and 1 (female). Anything else is
        read as None with a `QualityWarning`.
    heart_rate : float or None
        Beats per minute, 20-300; NaN is read as None.

    Raises
    ------
    ConditionError
        For an unknown code, an impossible age or an impossible heart rate.

    Examples
    --------
    >>> from ecgtwin.conditions import Condition
    >>> Condition(["SR", "PVC"], age=63, sex="female")
    Condition(statements=('PVC', 'SR'), age=63.0, sex='F', heart_rate=None)
    >>> print(Condition.parse("ventricular premature complex, LBBB", age=63, heart_rate=72))
    CLBBB, PVC · 63 y · 72 bpm
    """

    statements: tuple[str, ...] = ()
    age: float | None = None
    sex: str | None = None
    heart_rate: float | None = None

    def __post_init__(self) -> None:
        for field, check in (
            ("statements", _check_statements),
            ("age", _check_age),
            ("sex", _check_sex),
            ("heart_rate", _check_heart_rate),
        ):
            object.__setattr__(self, field, check(getattr(self, field)))

    @classmethod
    def parse(
        cls,
        obj: object = None,
        *,
        age: float | str | None = None,
        sex: str | int | None = None,
        heart_rate: float | None = None,
    ) -> Self:
        """Read a condition from codes, names, SNOMED CT numbers or a row of PTB-XL.

        Parameters
        ----------
        obj : Condition, str, int, mapping, iterable of these, or None
            A text lists statements separated by commas, semicolons, lines, "+", "and" or "with", and
            may give age, sex and heart rate ("63 y, F, 72 bpm"). What it negates ("no ST elevation")
            is left out; a negation reaches across "or", and ends at "and" or a comma unless the list
            goes on to an "or". "LBBB" and "RBBB" mean the complete blocks, "normal" a normal ECG,
            "tachycardia" and "bradycardia" those of the sinus. A mapping is either a row of PTB-XL
            with `scp_codes` (a likelihood of 0 there means unknown, not absent), or holds any of
            `statements`, `age`, `sex`, `heart_rate`. None asks for nothing.
        age, sex, heart_rate : optional
            As in `Condition`; they override what `obj` says.

        Returns
        -------
        Condition

        Raises
        ------
        ConditionError
            For a word that is not known, naming the three closest that are; for one that may mean
            several statements ("MI", "AV block"), naming them; for a text over 20,000 characters.

        Examples
        --------
        >>> Condition.parse("AF + rbbb, no ST elevation").statements
        ('CRBBB', 'AFIB')
        >>> Condition.parse({"scp_codes": "{'NORM': 100.0, 'SR': 0.0}", "age": 300.0, "sex": 1})
        Condition(statements=('NORM', 'SR'), age=90.0, sex='F', heart_rate=None)
        """
        said = {"age": age, "sex": sex, "heart_rate": heart_rate}
        return cls(**(_fields(obj) | {field: value for field, value in said.items() if value is not None}))

    @classmethod
    def parse_report(cls, text: str) -> Self:
        """Find every known statement in the running text of a report.

        Unlike `parse`, words that are not known or may mean several statements are passed over, as
        are words too common to trust inside a sentence ("normal", "tachycardia") and impossible ages
        and heart rates. English, and the usual German terms.

        Parameters
        ----------
        text : str
            The report. What stands after 20,000 characters is not read, with a `QualityWarning`.

        Returns
        -------
        Condition

        Raises
        ------
        ConditionError
            If `text` is not a string.

        Examples
        --------
        >>> print(Condition.parse_report("63-year-old woman. Sinus rhythm, 72 bpm. No definite Q waves."))
        SR · 63 y · F · 72 bpm
        """
        if not isinstance(text, str):
            raise ConditionError(f"a report must be a str, got {type(text).__name__}")
        if len(text) > TEXT_LIMIT:
            warnings.warn(
                f"report of {len(text)} characters: only the first {TEXT_LIMIT} are read",
                QualityWarning,
                stacklevel=2,
            )
        fields = read_text(text[:TEXT_LIMIT], strict=False)
        for field, (low, high) in (("age", _AGE_RANGE), ("heart_rate", HEART_RATE_RANGE)):
            if not low <= fields.get(field, low) <= high:
                del fields[field]
        return cls(**fields)

    def replace(self, **changes: Any) -> Self:
        """Copy with some fields changed; raises as `Condition` does.

        Examples
        --------
        >>> Condition("SR", age=63).replace(statements=["AFIB"]).statements
        ('AFIB',)
        """
        if unknown := changes.keys() - {field.name for field in dataclasses.fields(self)}:
            raise ConditionError(f"a condition has no field {', '.join(sorted(unknown))}")
        return dataclasses.replace(self, **changes)

    def conflicts(self) -> tuple[str, ...]:
        """Contradictions within the condition, in words; empty where there are none.

        Two statements contradict where PTB-XL's cardiologists all but never give both to one ECG, and
        a rhythm contradicts a heart rate that lies outside its own range.

        Returns
        -------
        tuple of str

        Examples
        --------
        >>> Condition(["SR", "AFIB"], heart_rate=150).conflicts()
        ('SR and AFIB exclude each other', 'SR goes with 50-110 bpm, not 150 bpm')
        """
        found = [
            f"{a} and {b} exclude each other"
            for a, b in combinations(self.statements, 2)
            if (a, b) in EXCLUSIVE
        ]
        for code in self.statements:
            low, high = _RHYTHM_RATES.get(code, HEART_RATE_RANGE)
            if self.heart_rate is not None and not low <= self.heart_rate <= high:
                found.append(f"{code} goes with {low:g}-{high:g} bpm, not {self.heart_rate:g} bpm")
        return tuple(found)

    @property
    def superclasses(self) -> frozenset[str]:
        """Diagnostic superclasses of the statements: some of NORM, MI, STTC, CD and HYP."""
        classes = (statement(code).superclass for code in self.statements)
        return frozenset(name for name in classes if name is not None)

    def __str__(self) -> str:
        parts = [", ".join(self.statements)] if self.statements else []
        parts += [f"{self.age:g} y"] if self.age is not None else []
        parts += [self.sex] if self.sex else []
        parts += [f"{self.heart_rate:g} bpm"] if self.heart_rate is not None else []
        return " · ".join(parts) or "unconditional"


def with_person_of(condition: object, other: Condition) -> Condition:
    """Return a condition with the age and sex of another one, where it does not say them.

    Examples
    --------
    >>> print(with_person_of("PVC, 40 y", Condition.parse("NORM, 63 y, F")))
    PVC · 40 y · F
    """
    asked = Condition.parse(condition)
    return asked.replace(
        age=other.age if asked.age is None else asked.age, sex=other.sex if asked.sex is None else asked.sex
    )


def statement_matrix(conditions: Sequence[Condition]) -> NDArray[np.bool_]:
    """Which statement each condition holds, ``(n, 71)``, in the order of `STATEMENTS`.

    Examples
    --------
    >>> statement_matrix([Condition.parse("PVC, LBBB"), Condition()]).sum(axis=1).tolist()
    [2, 0]
    """
    return np.array(
        [[code in one.statements for code in STATEMENTS] for one in conditions], dtype=bool
    ).reshape(-1, len(STATEMENTS))
