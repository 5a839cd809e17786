"""A minute of one heart, without seams.

    python examples/long_twin.py [SECONDS]

Writes ``long_twin.png``, lead II in rows of 10 s.
"""

import sys
import time

import matplotlib

matplotlib.use("Agg")

from dataclasses import replace

import numpy as np

from ecgtwin import ECGTwinGenerator, load_example, plot_series
from ecgtwin.beats import r_peaks

duration = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
generator = ECGTwinGenerator.from_pretrained()
start = time.perf_counter()
twin = generator.sample_ecgs(load_example(), "AFIB", heart_rate=84, duration=duration, random_state=0)[0]
print(f"{duration:g} s drawn in {time.perf_counter() - start:.1f} s")

peaks = r_peaks(twin.signal, twin.sampling_rate) / twin.sampling_rate
print(f"{len(peaks)} beats, {60 / np.diff(peaks).mean():.1f} bpm")
width = round(10 * twin.sampling_rate)
starts = range(0, min(6, int(duration // 10)) * width, width)
rows = [replace(twin, signal=twin.signal[:, start : start + width + 1]) for start in starts]
titles = [f"{10 * i} s" for i in range(len(rows))]
plot_series(rows, leads=["II"], titles=titles).figure.savefig("long_twin.png", dpi=110)
