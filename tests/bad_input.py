"""What bad input gets: one row of the table, one case.

A row that raises names the error and words of its message; one that warns, words of the warning; one
that is accepted is checked to be. Rows are numbered as in the table of the design.
"""

import gc
import hashlib

import numpy as np
import pytest

from ecgtwin import ECG, ECGTwinGenerator, InputError, QualityWarning, as_ecg, make_ecgs
from ecgtwin.ecg import check_reference
from ecgtwin.leads import LEADS

PEOPLE = make_ecgs(4, 2, statements=("NORM", "PVC"), sampling_rate=500, random_state=0)
SIGNAL = PEOPLE.signals[0]
SIGNAL.setflags(write=False)
NATIVE = np.ascontiguousarray(ECG(SIGNAL, sampling_rate=500).native()[0])
NATIVE.setflags(write=False)
ROW = {lead: i for i, lead in enumerate(LEADS)}


class Table:
    """The rows that a file has, from `first` to `last`; a decorator that makes a function the case of one."""

    def __init__(self, first, last):
        self.numbers, self.cases = list(range(first, last + 1)), {}

    def __call__(self, number, words):
        def register(function):
            assert number not in self.cases
            self.cases[number] = pytest.param(function, id=f"{number:02d}-{words.replace(' ', '-')}")
            return function

        return register

    def params(self):
        """Every row's case, in order."""
        assert sorted(self.cases) == self.numbers
        return [self.cases[number] for number in self.numbers]


class Bench:
    """What the cases share: a small fitted generator, and a folder."""

    def __init__(self, tiny, folder):
        self.tiny, self.folder = tiny, folder

    def run(self, case):
        case(self)
        gc.collect()
        assert not list(self.folder.rglob("*.part"))

    def sample(self, reference=NATIVE, condition="NORM", **options):
        return self.tiny.sample(reference, condition, random_state=0, **options)

    def weights(self):
        return self.tiny.save_pretrained(self.folder / "weights")

    def fit(self, n=8, **options):
        generator = ECGTwinGenerator(architecture="tiny", max_epochs=1, batch_size=4, n_steps=1)
        generator.set_params(**options)
        data = PEOPLE.signals[:n, :, ::5]
        return generator.fit(data, groups=PEOPLE.groups[:n], conditions=PEOPLE.conditions[:n])


def refused(words, error=InputError):
    return pytest.raises(error, match=words)


def warned(words):
    return pytest.warns(QualityWarning, match=words)


def read(values, rate=500, **options):
    return check_reference(as_ecg(values, sampling_rate=rate, **options))


def changed(rows, value, signal=SIGNAL):
    out = signal.copy()
    out[rows] = value
    return out


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
