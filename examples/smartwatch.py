"""A smartwatch's lead I as the reference: twins have all twelve leads.

    python examples/smartwatch.py

Draws the twins' beats over the twelve leads that the watch has not seen. Writes ``smartwatch.png``.
"""

import matplotlib

matplotlib.use("Agg")

from ecgtwin import ECG, ECGTwinGenerator, load_example, plot_beats

whole = load_example()
watch = whole.select(["I"]).resample(250)
watch = ECG(watch.signal, leads=["I"], sampling_rate=250, condition="SR")
twins = ECGTwinGenerator.from_pretrained().sample_ecgs(
    watch, "NORM, SR", n_samples=12, age=54, sex="F", random_state=0
)
print(
    f"reference {watch.signal.shape}, {watch.leads} at 250 Hz; twins {len(twins)} x {twins[0].signal.shape}"
)
plot_beats(
    whole, twins, title="black: the person's 12 leads; blue: median and 80 % of 12 twins made from lead I"
).figure.savefig("smartwatch.png", dpi=110)
