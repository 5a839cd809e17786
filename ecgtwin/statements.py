"""The 71 SCP-ECG statements of PTB-XL, and the words people use for them."""

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from .exceptions import ConditionError

TEXT_LIMIT = 20_000
"""Characters of the longest text that is read."""


@dataclass(frozen=True)
class Statement:
    """One SCP-ECG statement of PTB-XL.

    Parameters
    ----------
    code : str
        The SCP-ECG code as PTB-XL writes it, such as ``"PVC"``.
    name : str
        English name.
    synonyms : tuple of str
        Further names and abbreviations that are read as this statement.
    snomed : tuple of str
        SNOMED CT codes, as the PhysioNet/CinC Challenges 2020 and 2021 used them.
    superclass : {"NORM", "MI", "STTC", "CD", "HYP"} or None
        Diagnostic superclass; None for a statement that is no diagnosis.
    subclass : str or None
        Diagnostic subclass.
    kinds : tuple of str
        Some of ``"diagnostic"``, ``"form"``, ``"rhythm"``.
    """

    code: str
    name: str
    synonyms: tuple[str, ...]
    snomed: tuple[str, ...]
    superclass: str | None
    subclass: str | None
    kinds: tuple[str, ...]


_ASSET = json.loads((Path(__file__).parent / "assets" / "statements.json").read_text(encoding="utf-8"))
_TABLE = tuple(
    Statement(**entry | {key: tuple(entry[key]) for key in ("synonyms", "snomed", "kinds")})
    for entry in _ASSET["statements"]
)
STATEMENTS: tuple[str, ...] = tuple(statement.code for statement in _TABLE)
"""The 71 codes. Their order is the index of the network's embedding and never changes."""
_INDEX = {code: i for i, code in enumerate(STATEMENTS)}
_CODES = {code.casefold(): code for code in STATEMENTS}
EXCLUSIVE = frozenset(
    pair for group in _ASSET["exclusive"] for pair in combinations(sorted(group, key=_INDEX.__getitem__), 2)
)
"""Pairs of codes that contradict each other, each pair in the order of `STATEMENTS`."""

RHYTHMS = frozenset(statement.code for statement in _TABLE if "rhythm" in statement.kinds)
COMPANY: dict[str, dict[str, float]] = _ASSET["company"]
"""How often other codes come with one, both seen in the usual beats, in PTB-XL's folds 1-8: of n recordings
as of n + 5, where that is a tenth or more, and twice as often as among all recordings."""

_TOKEN = re.compile(r"(?P<skip>\([nstNST]\)|[\s\-_/\"'°*()]+)|(?P<word>[^\W_]+)|(?P<mark>.)", re.DOTALL)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_MARKS = frozenset(",;:.!?+&|·\n")
_SEPARATORS = _MARKS | {"and", "with", "but", "und", "mit", "aber"}
_NEGATORS = tuple(
    tuple(words.split())
    for words in (
        *("no", "not", "nor", "neither", "without", "absence of", "negative for", "free of", "rule out"),
        *("kein", "keine", "keinen", "keiner", "ohne", "nicht", "weder"),
    )
)
_DOUBTS = (("cannot", "rule", "out"), ("can", "not", "rule", "out"), ("not", "ruled", "out"))
"""No negations: what cannot be ruled out, or excluded, may be there."""
_NEGATED_AFTER = tuple(
    tuple(words.split())
    for words in (
        *("ruled out", "excluded", "absent", "resolved", "none", "negative"),
        *("not present", "not seen", "not detected", "not evident", "no longer present", "no longer seen"),
        *("no longer", "ausgeschlossen", "nicht vorhanden", "nicht nachweisbar"),
    )
)
_COPULAS = frozenset({"is", "are", "was", "were", "has", "have", "been", "ist", "sind", ":"})
"""What may stand between a statement and what denies it."""
_AFTER_NEGATION = frozenset(
    {
        *("evidence", "of", "sign", "any", "significant", "definite", "acute", "or"),
        *("hinweis", "auf", "zeichen", "oder", "noch"),
    }
)
_SEXES: dict[str, str] = {
    **dict.fromkeys(("f", "female", "woman", "girl", "frau", "weiblich", "patientin"), "F"),
    **dict.fromkeys(("m", "male", "man", "boy", "mann", "maennlich"), "M"),
}
_NUMBER = r"(?<![\w.])(?<!\s-)(?<!^-)(\d{1,4}(?:\.\d{1,4})?)(?!\d)"
_AGE = re.compile(
    rf"{_NUMBER}[\s-]?(?:y\b(?!/)|yo\b|y/o\b|(?:years?|yrs?)(?:[\s-]old\b|\sof\sage\b)|jahre\salt\b|j(?:ae|ä)hrig\w*)"
    rf"|\b(?:aged?|alter)[:\s]\s?{_NUMBER}",
    re.IGNORECASE,
)
_RATE = re.compile(
    rf"\b(?:heart\s?rate|hr|herzfrequenz|ventricular\srate)(?:\s?[:=]\s?|\s(?:of|is)\s|\s){_NUMBER}(?:\s?bpm\b|\s?/\s?min\b)?"
    rf"|{_NUMBER}\s?(?:bpm\b|/\s?min\b|beats\sper\sminute\b)",
    re.IGNORECASE,
)


def _spell(word: str) -> str:
    """One spelling for cases, plurals, umlauts, and British and American English."""
    word = unicodedata.normalize("NFKC", word).casefold().translate(_UMLAUTS).replace("schaem", "schem")
    if word.endswith("complexes"):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] not in "sui" else word


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """Words and punctuation marks as `(spelling, start, end)`; spaces, hyphens and the like are dropped."""
    pending: tuple[str, int, int] | None = None
    for match in _TOKEN.finditer(text):
        start, end = match.span()
        if match.lastgroup == "skip":
            if "\n" in match[0] or " - " in match[0]:  # a dash, not a hyphen
                if pending:
                    yield pending
                pending = None
                yield "\n" if "\n" in match[0] else ";", start, end
            continue
        spelling = _spell(match[0]) if match.lastgroup == "word" else match[0]
        if pending and pending[0] == "a" and spelling == "v":
            pending = ("av", pending[1], end)
            continue
        if pending:
            yield pending
        pending = (spelling, start, end)
    if pending:
        yield pending


def _phrase(name: str) -> tuple[str, ...]:
    return tuple(spelling for spelling, _, _ in _tokens(name))


@cache
def _names() -> dict[tuple[str, ...], tuple[str, ...]]:
    """Every known phrase, with the codes it may mean: several if ambiguous, none if it asks for nothing."""
    names = {_phrase(name): tuple(codes) for name, codes in _ASSET["ambiguous"].items()}
    names |= {_phrase(name): () for name in _ASSET["unsaid"]}
    for entry in _TABLE:
        names |= {_phrase(name): (entry.code,) for name in (entry.name, *entry.synonyms, *entry.snomed)}
    # Codes last, that no synonym can take one; each half of "LAO/LAE" is a synonym of its own.
    return names | {_phrase(code): (code,) for code in STATEMENTS}


@cache
def _whole_phrases() -> frozenset[tuple[str, ...]]:
    """Names too common to be read inside running text: "normal" is about the axis as often as the ECG."""
    return frozenset(_phrase(name) for name in _ASSET["whole_phrase"])


def _closest(phrase: str) -> str:
    """The three statements with the most similar names, each by that name."""
    codes = _CODES | {name: e.code for e in _TABLE for name in (e.name.casefold(), *e.synonyms)}
    found: dict[str, str] = {}
    # Enough names that those of one statement cannot crowd out the other two.
    for name in difflib.get_close_matches(phrase[:40].casefold(), codes, n=100, cutoff=0.0):
        found.setdefault(codes[name], name)
    return ", ".join(f"{name!r} ({code})" for code, name in list(found.items())[:3])


def _unknown(phrase: str) -> ConditionError:
    shown = repr(phrase) if len(phrase) <= 40 else f"a text of {len(phrase)} characters"  # may name a patient
    return ConditionError(
        f"{shown} is not a known statement; the closest are {_closest(phrase)}. "
        "ecgtwin.conditions.statement_table() lists all of them."
    )


def _starts(words: list[str], i: int, phrases: Iterable[tuple[str, ...]]) -> int:
    """How many words at `i` spell one of the phrases; 0 for none."""
    return next((len(p) for p in phrases if tuple(words[i : i + len(p)]) == p), 0)


def _negated_list_end(words: list[str], i: int) -> int:
    """The place of the "or" that closes the list "no A, B or C" open at the comma `i`; -1 if none does."""
    for j in range(i + 1, len(words)):
        if words[j] in ("or", "nor", "oder", "noch"):
            return j
        if (words[j] in _SEPARATORS and words[j] != ",") or _starts(words, j, _NEGATORS):
            break
    return -1


def _read(text: str, *, strict: bool) -> tuple[list[str], str | None]:
    """Codes and sex named in a text. Strict refuses what it does not know; otherwise it is passed over."""
    tokens = list(_tokens(text))
    words = [spelling for spelling, _, _ in tokens]
    names, whole = _names(), _whole_phrases()
    longest = max(map(len, names))
    codes: list[str] = []
    sexes: set[str] = set()
    negated, negated_until, i = False, -1, 0
    while i < len(words):
        n = next(
            (n for n in range(min(longest, len(words) - i), 0, -1) if tuple(words[i : i + n]) in names), 0
        )
        bounded = (i == 0 or words[i - 1] in _SEPARATORS) and (
            i + n >= len(words) or words[i + n] in _SEPARATORS
        )
        if n and tuple(words[i : i + n]) in whole and not (negated or (strict and bounded)):
            n = 0
        if n:
            phrase, meant = tuple(words[i : i + n]), names[tuple(words[i : i + n])]
            i += n
            after = next((j for j in range(i, len(words)) if words[j] not in _COPULAS), i)
            if denied := _starts(words, after, _NEGATED_AFTER):
                i = after + denied
            elif len(meant) > 1 and strict and not negated:
                choices = ", ".join(f"{code} ({statement(code).name})" for code in meant)
                raise ConditionError(
                    f"{' '.join(phrase)!r} may mean several statements; choose from {choices}"
                )
            elif len(meant) == 1 and not negated:
                codes.append(meant[0])
        elif n := _starts(words, i, _DOUBTS):
            i += n
        elif n := _starts(words, i, _NEGATORS):
            negated, i = True, i + n
        elif words[i] in _SEPARATORS:
            if words[i] == "," and negated and i > negated_until:
                negated_until = _negated_list_end(words, i)
            negated = negated and words[i] == "," and i < negated_until
            i += 1
        elif words[i] in _SEXES and (len(words[i]) > 1 or strict):
            sexes.add(_SEXES[words[i]])
            i += 1
        elif strict and not (negated and words[i] in _AFTER_NEGATION):
            end = next((j for j in range(i, len(words)) if words[j] in _SEPARATORS), len(words))
            raise _unknown(text[tokens[i][1] : tokens[end - 1][2]])
        else:
            i += 1
    return codes, sexes.pop() if len(sexes) == 1 else None


def read_text(text: str, *, strict: bool) -> dict[str, Any]:
    """Find the fields of a condition that a text names.

    Parameters
    ----------
    text : str
    strict : bool
        Refuse a word that is not known or means several statements, and a text over `TEXT_LIMIT`;
        otherwise such words are passed over.

    Returns
    -------
    dict
        ``statements``, a list of codes, and ``sex``; ``age`` in years and ``heart_rate`` in beats per
        minute only where they are named, unchecked.

    Raises
    ------
    ConditionError
        Where `strict` refuses.

    Examples
    --------
    >>> read_text("63-year-old woman, PVC", strict=True)
    {'statements': ['PVC'], 'sex': 'F', 'age': 63.0}
    """
    if strict and len(text) > TEXT_LIMIT:
        raise ConditionError(
            f"text of {len(text)} characters, at most {TEXT_LIMIT}; see Condition.parse_report"
        )
    found: dict[str, float] = {}
    for field, pattern in (("age", _AGE), ("heart_rate", _RATE)):
        if match := pattern.search(text):
            found[field] = float(next(group for group in match.groups() if group))
            text = f"{text[: match.start()]};{text[match.end() :]}"
    codes, sex = _read(text, strict=strict)
    return {"statements": codes, "sex": sex, **found}


def known_code(code: str) -> str:
    """Return a code as the table spells it; raises `ConditionError`, naming the closest, if there is none.

    Examples
    --------
    >>> known_code("pvc ")
    'PVC'
    """
    if code.strip().casefold() not in _CODES:
        raise _unknown(code)
    return _CODES[code.strip().casefold()]


def read_sex(word: str) -> str | None:
    """Return "F" or "M" for an English or German word that means it, else None.

    Examples
    --------
    >>> read_sex("Female"), read_sex("x")
    ('F', None)
    """
    return _SEXES.get(_spell(word.strip()))


def statement_table() -> tuple[Statement, ...]:
    """All 71 statements, in the order of `STATEMENTS`."""
    return _TABLE


def statement(name: str) -> Statement:
    """Look up one statement by its code, name, synonym or SNOMED CT code.

    Raises
    ------
    ConditionError
        If the name is not known or means more than one statement.

    Examples
    --------
    >>> statement("ves").name
    'ventricular premature complex'
    """
    code = _CODES.get(name.casefold())
    codes = (code,) if code else tuple(dict.fromkeys(read_text(name, strict=True)["statements"]))
    if len(codes) != 1:
        raise ConditionError(f"{name[:40]!r} names {len(codes)} statements, not one")
    return _TABLE[_INDEX[codes[0]]]
