"""What the examples learn from: patients of PTB-XL that the bundled weights never saw, or simulated ones."""

import argparse

import numpy as np

from ecgtwin import load_ptbxl, make_ecgs


def parser(description):
    """An argument parser with the path of PTB-XL."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--data", help="folder of PTB-XL 1.0.3; without it, simulated ECGs")
    return found


def load(path, n_simulated=150):
    """Return signals ``(n, 12, 1000)``, conditions and persons, of people that the weights never saw."""
    # The bundled weights are trained on folds 1-8.
    ecgs = load_ptbxl(path, folds=[9]) if path else make_ecgs(n_simulated, 3, random_state=0)
    return ecgs.signals, np.array(ecgs.conditions, dtype=object), np.asarray(ecgs.groups)


def interval(values):
    """The mean of a few seeds and the 95 % interval of that mean (Student's t)."""
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():6.3f} [{values.mean() - half:6.3f}, {values.mean() + half:6.3f}]"
