"""The same twins everywhere: known values, and equality over everything that must not matter."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

from ecgtwin import ECG, ECGTwinGenerator
from ecgtwin.leads import LEADS

DATA = Path(__file__).parent / "data"
sys.path.insert(0, str(DATA))

from make import CASES, golden, reference  # noqa: E402

KNOWN = np.array(json.loads((DATA / "golden.json").read_text()))


@pytest.fixture(scope="module")
def generator():
    return ECGTwinGenerator.from_pretrained(DATA / "tiny")


def twins(generator, **options):
    return generator.sample(reference(), "PVC", **{"n_samples": 5, "random_state": 0} | options)


def test_known_twins(generator):
    np.testing.assert_allclose(golden(generator), KNOWN, atol=2e-4)
    assert len(KNOWN) == len(CASES)


def test_batch_size_and_order(generator):
    whole = twins(generator)
    for size in (1, 2, 64):
        other = ECGTwinGenerator.from_pretrained(DATA / "tiny", batch_size=size)
        np.testing.assert_allclose(twins(other), whole, atol=1e-5)
        joined = np.concatenate(list(other.sample_batches(reference(), "PVC", n_samples=5, random_state=0)))
        np.testing.assert_allclose(joined, whole, atol=1e-5)
    np.testing.assert_allclose(twins(generator, n_samples=2), whole[:2], atol=1e-5)


def test_lead_order_of_the_reference(generator):
    ecg = ECG(reference())
    order = ("V6", "aVR", "I", "V2", "II", "V1", "aVF", "V3", "III", "V5", "aVL", "V4")
    turned = generator.sample(ecg.select(order), "PVC", n_samples=5, random_state=0)
    whole = twins(generator)
    rows = [LEADS.index(lead) for lead in order]
    np.testing.assert_allclose(turned, whole[:, rows], atol=1e-5)


def test_threads(generator):
    whole, n_threads = twins(generator), torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            np.testing.assert_allclose(twins(generator), whole, atol=1e-5)
    finally:
        torch.set_num_threads(n_threads)


def test_another_process(generator):
    code = (
        f"import sys; sys.path.insert(0, {str(DATA)!r}); import numpy as np; from make import golden; "
        f"from ecgtwin import ECGTwinGenerator; "
        f"np.testing.assert_allclose(golden(ECGTwinGenerator.from_pretrained({str(DATA / 'tiny')!r})), "
        f"np.array({KNOWN.tolist()}), atol=2e-4)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_save_load_pickle_and_clone(generator, tmp_path):
    whole = twins(generator)
    again = ECGTwinGenerator.from_pretrained(generator.save_pretrained(tmp_path))
    np.testing.assert_allclose(twins(again), whole, atol=1e-5)
    np.testing.assert_allclose(twins(pickle.loads(pickle.dumps(generator))), whole, atol=1e-5)
    cloned = clone(generator)
    np.testing.assert_allclose(twins(ECGTwinGenerator.from_pretrained(cloned.pretrained)), whole, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_cuda(generator):
    there = ECGTwinGenerator.from_pretrained(DATA / "tiny", device="cuda")
    np.testing.assert_allclose(golden(there), KNOWN, atol=1e-3)
    np.testing.assert_allclose(twins(there), twins(generator), atol=1e-3)
