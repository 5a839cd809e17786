"""What a statement did to a twin: the picture, and the figures behind it.

    python examples/explained_twin.py [STATEMENT]

Writes ``explained_twin.png``: the twin on ECG paper, blue where the statement moved it.
"""

import sys

import matplotlib

matplotlib.use("Agg")

import numpy as np

from ecgtwin import ECGTwinGenerator, load_example, plot_ecg
from ecgtwin.leads import LEADS

statement = sys.argv[1] if len(sys.argv) > 1 else "PVC"
found = ECGTwinGenerator.from_pretrained().explain(load_example(), f"SR, {statement}", random_state=1)
moved = np.abs(found.of(statement))
plot_ecg(found.twin, attribution=moved).figure.savefig("explained_twin.png", dpi=110)

row = found.statements.index(statement)
seconds = found.peaks / found.twin.sampling_rate
print("lead   " + "  ".join(f"{lead:>5s}" for lead in LEADS))
print("mV     " + "  ".join(f"{one:5.3f}" for one in moved.mean(axis=1)))
print("\nbeat at       " + "  ".join(f"{second:5.2f}" for second in seconds) + "  s")
print("time likelier " + "  ".join(f"{np.exp(one):5.1f}" for one in found.rhythm[row]) + "  times")
