"""Make the small weights and the twins that they are known to draw: ``python tests/data/make.py``.

To be run when the networks change on purpose; what changed is then to be said in the commit.
"""

import json
from pathlib import Path

import numpy as np

from ecgtwin import ECGTwinGenerator, make_ecgs

HERE = Path(__file__).parent
CASES = [
    {"condition": "PVC", "random_state": 0},
    {"condition": "AFIB", "age": 70, "sex": "F", "random_state": 1},
    {"condition": "NORM", "heart_rate": 60, "guidance_scale": 2.0, "random_state": 2},
    {"condition": None, "person_scale": 0.0, "n_steps": 2, "random_state": 3},
]
PLACES = list(range(5, 1000, 111))
"""Samples at which twins are written down."""


def reference():
    """The simulated person whose twins are known."""
    return make_ecgs(2, 1, random_state=7).signals[0]


def golden(generator):
    """Twins of every case, at some samples of every lead, in mV."""
    twins = [generator.sample(reference(), **case)[0] for case in CASES]
    return np.round(np.stack(twins)[:, :, PLACES].astype(float), 4)


def main():
    ecgs = make_ecgs(n_patients=12, n_records=2, random_state=0)
    generator = ECGTwinGenerator(architecture="tiny", max_epochs=60, batch_size=12, learning_rate=0.01)
    generator.fit(ecgs.signals, groups=ecgs.groups, conditions=ecgs.conditions)
    generator.sampling_ |= {"n_steps": 3}
    generator.save_pretrained(HERE / "tiny", half=True)
    for extra in (".lock", "README.md"):
        (HERE / "tiny" / extra).unlink(missing_ok=True)
    loaded = ECGTwinGenerator.from_pretrained(HERE / "tiny")
    (HERE / "golden.json").write_text(json.dumps(golden(loaded).tolist()) + "\n")


if __name__ == "__main__":
    main()
