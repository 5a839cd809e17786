"""From a WFDB file to this person's ECG with premature ventricular complexes.

    python examples/quickstart.py [RECORD]

Draws 8 twins of a recording (the synthetic one that is shipped, if none is given) and leaves them in
``twins/``: WFDB records, and one picture on ECG paper with the reference above a twin.
"""

import sys
import time

from ecgtwin import ECGTwinGenerator, lead_residual, load_example, plot_twins, read_ecg, write_ecg
from ecgtwin.leads import LEADS

reference = read_ecg(sys.argv[1]) if len(sys.argv) > 1 else load_example()

generator = ECGTwinGenerator.from_pretrained()
generator.sample(reference, "PVC")  # the first call warms up

start = time.perf_counter()
twins = generator.sample_ecgs(reference, "PVC", n_samples=8, random_state=2)
milliseconds = 1000 * (time.perf_counter() - start) / len(twins)

for i, twin in enumerate(twins):
    write_ecg(f"twins/twin_{i}", twin)
plot_twins(reference, twins[:1]).savefig("twins/twins.png", dpi=150)

print(f"reference      {reference.heart_rate:4.0f} bpm")
print("twins          " + ", ".join(f"{twin.heart_rate:.0f}" for twin in twins) + " bpm")
print(f"lead residual  {max(lead_residual(twin.select(LEADS).signal) for twin in twins):.1e}")
print(f"speed          {milliseconds:.0f} ms per twin")
print("written        twins/twin_0.hea ... twins/twin_7.hea, twins/twins.png")
