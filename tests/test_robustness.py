"""Found by machine: whatever goes in, only the errors that are promised come out.

The counts are small here. `ECGTWIN_MUTANTS=10000` damages as many checkpoints and a fifth as many headers,
`ECGTWIN_EXAMPLES=10000` draws as many examples for each function.
"""

import os
import time
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes
from sklearn.exceptions import NotFittedError

from ecgtwin import (
    ECG,
    CheckpointError,
    Condition,
    IndividualBaseExtractor,
    InputError,
    as_ecg,
    lead_residual,
    load_ptbxl,
    make_ecgs,
    plot_ecg,
    read_ecg,
    write_ecg,
    write_npz,
)
from ecgtwin.ecg import check_reference
from ecgtwin.hub import find_source
from ecgtwin.nn import ARCHITECTURES, TwinNetworks
from ecgtwin.pretrained import SAMPLING, Checkpoint, load, save

MUTANTS = int(os.environ.get("ECGTWIN_MUTANTS", "150"))
PROMISED = (InputError, CheckpointError, ValueError, TypeError, NotFittedError, FileNotFoundError)

few = settings(
    max_examples=int(os.environ.get("ECGTWIN_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=60),
    st.binary(max_size=20),
    st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=5), st.integers()), max_size=15),
    st.dictionaries(st.text(max_size=12), st.one_of(st.floats(), st.text(max_size=9)), max_size=4),
    arrays(scalar_dtypes(), array_shapes(max_dims=4, max_side=14)),
    arrays(np.float32, st.tuples(st.sampled_from([1, 2, 8, 12]), st.sampled_from([1, 250, 300]))),
)


def only_promised(call, *args, **options):
    """Call it; return what it gives, or None where it refuses as it may."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(*args, **options)
        except PROMISED as error:
            said = str(error)
    assert len(said) < 5000
    return None


@few
@given(anything, anything, anything)
def test_as_ecg(obj, rate, leads):
    ecg = only_promised(as_ecg, obj, sampling_rate=rate, leads=leads)
    if ecg is not None:
        only_promised(check_reference, ecg)


@few
@given(anything, st.sampled_from([100, 500.0, 250]), anything, anything, anything)
def test_as_ecg_with_options(obj, rate, unit, gain, nan_policy):
    only_promised(as_ecg, obj, sampling_rate=rate, unit=unit, gain=gain, nan_policy=nan_policy)


@few
@given(
    arrays(
        np.float32,
        st.tuples(st.sampled_from([1, 3, 12]), st.sampled_from([250, 300])),
        elements=st.floats(-30, 30, width=32),
    )
)
def test_references_are_refused_or_described(signal):
    names = {1: ["II"], 3: ["I", "II", "V1"]}.get(len(signal))
    ecg = ECG(signal, names)
    if only_promised(check_reference, ecg) is not None:
        assert all(isinstance(finding, str) for finding in ecg.findings)
        assert np.isfinite(ecg.native()[0]).all()


@few
@given(anything, anything, anything, anything)
def test_conditions(obj, age, sex, heart_rate):
    only_promised(Condition.parse, obj, age=age, sex=sex, heart_rate=heart_rate)
    only_promised(Condition.parse_report, obj)
    only_promised(Condition, obj, age, sex, heart_rate)


@few
@given(anything, anything)
def test_names_of_weights(name, revision):
    if isinstance(name, str):
        only_promised(find_source, name, revision if isinstance(revision, str) else None)
        only_promised(load, name, local_files_only=True)


@few
@given(st.text(max_size=30), anything)
def test_paths(path, folds):
    only_promised(read_ecg, path)
    only_promised(load_ptbxl, path, folds=folds)


@few
@given(anything, anything)
def test_functions_of_signals(obj, other):
    only_promised(lead_residual, obj)
    only_promised(ECG, obj, other)


@few
@given(anything, anything, anything)
def test_simulated_ecgs(n, records, statements):
    many = any(isinstance(value, int | float) and not abs(value) < 20 for value in (n, records))
    if not many:
        only_promised(make_ecgs, n, records, statements=statements)


@pytest.mark.parametrize("what", ["reference", "condition", "n_samples", "n_steps", "guidance_scale", "seed"])
def test_sample(tiny, ecgs, what):
    usual = {"reference": ecgs.signals[0], "condition": "PVC", "n_samples": 1, "n_steps": 1}

    @few
    @given(anything)
    def check(value):
        options = dict(usual)
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and value > 50
            and what in ("n_samples", "n_steps")
        ):
            value = -value  # would be drawn
        options["random_state" if what == "seed" else what] = value
        twins = only_promised(tiny.sample, **options)
        if twins is not None:
            assert np.isfinite(twins).all()
            assert lead_residual(twins) < 1e-5

    check()


def test_sample_of_almost_an_ecg(tiny, ecgs):
    part = st.tuples(st.integers(0, 11), st.integers(0, 999), st.integers(1, 1000))
    number = st.one_of(st.floats(width=32), st.sampled_from([0.0, 25.0, -1e4, 1e8, 1e12, 3e38]))

    @few
    @given(
        st.integers(0, 23),
        st.lists(st.tuples(part, st.sampled_from(["set", "add", "multiply"]), number), max_size=3),
        st.sampled_from([1, 1, 1, -1, 1e-3, 30]),
        st.sampled_from([1000, 1000, 997, 250, 240]),
        st.sampled_from([100, 100, 50, 200, 333.3]),
    )
    def check(person, changes, scale, length, rate):
        signal = scale * ecgs.signals[person][:, :length]
        for (lead, start, n), how, value in changes:
            place = signal[lead, start : start + n]
            with np.errstate(all="ignore"):
                place[:] = {"set": np.full_like(place, value), "add": place + value}.get(how, place * value)
        twins = only_promised(tiny.sample, ECG(signal, sampling_rate=rate), "PVC", n_steps=1)
        if twins is not None:
            assert np.isfinite(twins).all()
            assert np.abs(twins).max() < 1e6
            assert lead_residual(twins) < 1e-4

    check()


def test_transform(tiny):
    extractor = IndividualBaseExtractor()._take(tiny._checkpoint())

    @few
    @given(anything, anything)
    def check(X, conditions):
        vectors = only_promised(extractor.transform, X, conditions=conditions)
        if vectors is not None:
            assert np.isfinite(vectors).all()

    check()


def test_writing(tmp_path, ecgs):
    ecg = ECG(ecgs.signals[0])

    @few
    @given(st.text(max_size=20), st.lists(st.text(max_size=30), max_size=3))
    def check(name, comments):
        path = f"{tmp_path}/{name}"
        if "/" in name or "\0" in name:
            return
        record = only_promised(write_ecg, path, ecg, comments=comments)
        if record is not None:
            assert read_ecg(record).comments[0].startswith("synthetic")
        only_promised(write_npz, path, comments)

    check()


def test_plotting(ecgs):
    import matplotlib.pyplot as plt

    @few
    @given(anything)
    def check(obj):
        only_promised(plot_ecg, obj)
        plt.close("all")

    check()


def damaged(content, rng):
    """Flip, cut, repeat or insert bytes."""
    out = bytearray(content)
    kind = rng.integers(5)
    if kind <= 2:
        places = rng.integers(len(out) if kind else min(len(out), 3000), size=rng.integers(1, 9))
        for place in places:
            out[place] = rng.integers(256)
    elif kind == 3:
        del out[rng.integers(len(out)) :]
    else:
        place = rng.integers(len(out))
        out[place:place] = out[place : place + rng.integers(1, 200)]
    return bytes(out)


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_damaged_checkpoints(tmp_path):
    folder = save(Checkpoint(TwinNetworks(ARCHITECTURES["tiny"]), dict(SAMPLING)), tmp_path)
    files = {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}
    size = sum(map(len, files.values()))
    plain = files["config.json"].replace(b',\n "weights_sha256"', b',\n "x"')
    end = plain.rindex(b',\n "x"')
    plain = plain[:end] + b"\n}\n"  # a configuration that says no digest: damage must be found without it
    rng = np.random.default_rng(0)
    load(folder)
    before, slowest, loaded, grown = resident_bytes(), 0.0, 0, 0
    for i in range(MUTANTS):
        config = plain if i % 2 else files["config.json"]
        which = "model.safetensors" if i % 4 else "config.json"
        contents = {"config.json": config, "model.safetensors": files["model.safetensors"]}
        contents[which] = damaged(contents[which], rng)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        begun = time.monotonic()
        try:
            load(folder)
            loaded += 1
        except CheckpointError:
            pass
        slowest = max(slowest, time.monotonic() - begun)
        grown = max(grown, resident_bytes() - before)
    print(f"{MUTANTS} damaged checkpoints: {loaded} load, slowest {slowest:.2f} s, {grown / 1e6:.0f} MB more")
    assert slowest < 1.5
    assert grown < size + 50e6


def test_damaged_headers(tmp_path, ecgs):
    header = write_ecg(tmp_path / "rec", ECG(ecgs.signals[0])).with_suffix(".hea")
    content = header.read_bytes()
    rng = np.random.default_rng(0)
    read_ecg(header)
    before, slowest, read, grown = resident_bytes(), 0.0, 0, 0
    n = max(40, MUTANTS // 5)
    for _ in range(n):
        header.write_bytes(damaged(content, rng))
        begun = time.monotonic()
        read += only_promised(read_ecg, header) is not None
        slowest = max(slowest, time.monotonic() - begun)
        grown = max(grown, resident_bytes() - before)
    print(f"{n} damaged headers: {read} read, slowest {slowest:.2f} s, {grown / 1e6:.0f} MB more")
    assert slowest < 1.5
    assert grown < 60e6
