"""Several recordings of one person: their evidence is pooled.

    python examples/several_references.py

A limb-lead strip of today and a twelve-lead recording of last year, each with what it shows.
"""

import numpy as np

from ecgtwin import ECGTwinGenerator, load_example

last_year = load_example()
today = last_year.select(["I", "II", "III"]).resample(250)
generator = ECGTwinGenerator.from_pretrained()
twins = {
    "last year's alone": generator.sample(last_year, "SR, LVH", n_samples=4, random_state=0),
    "both": generator.sample(
        [last_year, today], "SR, LVH", reference_condition=["NORM, SR", "SR"], n_samples=4, random_state=0
    ),
}
for name, signals in twins.items():
    print(f"{name:18s} {signals.shape}, R in V5 {np.median(signals[:, 10].max(axis=1)):.2f} mV")
