"""Evaluate another generator's ECGs with the same figures, on arrays alone.

    python examples/other_generator.py

Simulated ECGs stand for real ones here, and two other "generators" for what is to be judged: one adds noise
to real recordings, one swaps leads. The whole report of a generator on PTB-XL is
``python -m ecgtwin evaluate --data PTBXL_DIR --generated FILE.npz --out report.json``.
"""

import numpy as np

from ecgtwin import make_ecgs
from ecgtwin.metrics import beat_consistency, lead_residuals, psd_log_distance, rule_share

real = make_ecgs(n_patients=40, n_records=1, statements=("CLBBB",), random_state=0).signals
other = make_ecgs(n_patients=40, n_records=1, statements=("CLBBB",), random_state=1).signals
rng = np.random.default_rng(0)
arms = {
    "other real": other,
    "noisy copy": other + rng.normal(0, 0.1, other.shape),
    "leads swapped": other[:, ::-1],
}
print(f"{'':14s} {'spectrum':>9s} {'rule CLBBB':>11s} {'lead residual':>14s} {'beats alike':>12s}")
for name, signals in arms.items():
    alike = np.nanmedian(beat_consistency(signals).correlation)
    print(
        f"{name:14s} {psd_log_distance(signals, real):9.3f} {rule_share(signals, 'CLBBB'):11.2f} "
        f"{np.median(lead_residuals(signals)):14.4f} {alike:12.3f}"
    )
