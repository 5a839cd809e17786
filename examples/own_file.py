"""Your own file at 500 Hz: any rate, any lead order; the twin comes back like the recording.

    python examples/own_file.py [CSV]

The file has one column for each lead, in millivolts. Without one the shipped recording is written as such a
file first, in MIMIC-IV-ECG's lead order.
"""

import sys

import numpy as np
import pandas

from ecgtwin import ECG, ECGTwinGenerator, load_example, write_ecg

if len(sys.argv) > 1:
    path = sys.argv[1]
else:
    path = "own_file.csv"
    example = load_example()
    order = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
    pandas.DataFrame(example.select(order).signal.T, columns=order).to_csv(path, index=False)

frame = pandas.read_csv(path)
recording = ECG(
    frame.to_numpy().T, leads=list(frame.columns), sampling_rate=500, condition="NORM, SR, 54 y, F"
)
twins = ECGTwinGenerator.from_pretrained().sample_ecgs(recording, "LBBB", n_samples=4, random_state=0)
for i, twin in enumerate(twins):
    write_ecg(f"own_file_twin_{i}", twin)
print(f"recording  {recording.signal.shape} at {recording.sampling_rate:g} Hz, {', '.join(recording.leads)}")
print(f"twins      {twins[0].signal.shape} at {twins[0].sampling_rate:g} Hz, {', '.join(twins[0].leads)}")
depth = {"recording": [recording], "twins": twins}
for name, ecgs in depth.items():
    print(f"{name:10s} S in V1 {np.mean([ecg.select(['V1']).signal.min() for ecg in ecgs]):.2f} mV")
