"""Disease of the vertebrae and what looks like it: sampled for a whole spine, then painted.

`sampling.sample_diseases` draws who has what, `shape.deform` collapses the bodies,
`painting.paint_disease`, `discs.paint_disc_disease` and `surroundings.paint_surroundings` paint.
"""

from training.phantom.disease.catalogue import catalogue, sample_run
from training.phantom.disease.discs import disc_under, paint_disc_disease
from training.phantom.disease.mix import MIXES, DiseaseMix
from training.phantom.disease.model import HEALTHY, Disease, ImpossibleDiseaseError, combine
from training.phantom.disease.painting import paint_disease
from training.phantom.disease.sampling import sample_diseases
from training.phantom.disease.shape import deform
from training.phantom.disease.surroundings import paint_surroundings

__all__ = [
    "HEALTHY",
    "MIXES",
    "Disease",
    "DiseaseMix",
    "ImpossibleDiseaseError",
    "catalogue",
    "combine",
    "deform",
    "disc_under",
    "paint_disc_disease",
    "paint_disease",
    "paint_surroundings",
    "sample_diseases",
    "sample_run",
]
