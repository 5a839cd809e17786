"""What many tests need: simulated ECGs, and a small generator trained on them."""

from pathlib import Path

import pytest

from ecgtwin import ECGTwinGenerator
from ecgtwin.simulate import make_ecgs

REAL_DATA = Path(__file__).parents[2] / "shared" / "data" / "ptbxl"


@pytest.fixture(scope="session")
def ecgs():
    """Twelve simulated people with two recordings each, at 100 Hz."""
    return make_ecgs(n_patients=12, n_records=2, random_state=0)


@pytest.fixture(scope="session")
def tiny(ecgs):
    """A generator of the tiny architecture: its twins are rough, its behaviour is the real one's."""
    generator = ECGTwinGenerator(
        architecture="tiny", max_epochs=60, batch_size=12, learning_rate=0.01, n_steps=3
    )
    return generator.fit(ecgs.signals, groups=ecgs.groups, conditions=ecgs.conditions)
