"""What many tests need: simulated ECGs, and a small generator trained on them."""

import csv
from pathlib import Path

import pytest
import wfdb

from ecgtwin import ECGTwinGenerator
from ecgtwin.leads import LEADS
from ecgtwin.simulate import make_ecgs
from ecgtwin.training import TrainingData

REAL_DATA = Path(__file__).parents[2] / "shared" / "data" / "ptbxl"


@pytest.fixture(scope="session")
def ecgs():
    """Twelve simulated people with two recordings each, at 100 Hz."""
    return make_ecgs(n_patients=12, n_records=2, random_state=0)


@pytest.fixture(scope="session")
def data(ecgs):
    """The same, to learn from."""
    return TrainingData(ecgs.signals, ecgs.groups, ecgs.conditions)


@pytest.fixture(scope="session")
def tiny(ecgs):
    """A generator of the tiny architecture: its twins are rough, its behaviour is the real one's."""
    generator = ECGTwinGenerator(
        architecture="tiny", max_epochs=60, batch_size=12, learning_rate=0.01, n_steps=3
    )
    return generator.fit(ecgs.signals, groups=ecgs.groups, conditions=ecgs.conditions)


@pytest.fixture(scope="session")
def ptbxl(ecgs, tmp_path_factory):
    """The simulated people in PTB-XL's layout, two of them in the validation fold; not to be changed."""
    root = tmp_path_factory.mktemp("simulated") / "ptbxl"
    (root / "records100").mkdir(parents=True)
    rows = []
    for i, (ecg, condition) in enumerate(zip(ecgs.signals, ecgs.conditions, strict=True)):
        wfdb.wrsamp(
            f"{i:05d}_lr",
            fs=100,
            units=["mV"] * 12,
            sig_name=list(LEADS),
            p_signal=ecg.T.astype(float),
            fmt=["16"] * 12,
            write_dir=str(root / "records100"),
        )
        rows.append(
            {
                "ecg_id": i,
                "patient_id": f"{ecgs.groups[i]}.0",
                "age": condition.age,
                "sex": 0,
                "scp_codes": str(dict.fromkeys(condition.statements, 100.0)),
                "strat_fold": 9 if ecgs.groups[i] in ecgs.groups[-4:] else 1,
                "filename_lr": f"records100/{i:05d}_lr",
            }
        )
    with (root / "ptbxl_database.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root
