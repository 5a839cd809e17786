"""The flow: its training objective, its samplers, and guidance."""

from .flow import Predict, denoising_loss, noise_like
from .guidance import corners, guided
from .noise import Seeds, row_electrodes, row_hearts, row_noise, row_pacing, row_seeds, row_uniforms
from .samplers import SAMPLERS, dpm_solver, euler, heun, shortcut, time_grid

__all__ = [
    "SAMPLERS",
    "Predict",
    "Seeds",
    "corners",
    "denoising_loss",
    "dpm_solver",
    "euler",
    "guided",
    "heun",
    "noise_like",
    "row_electrodes",
    "row_hearts",
    "row_noise",
    "row_pacing",
    "row_seeds",
    "row_uniforms",
    "shortcut",
    "time_grid",
]
