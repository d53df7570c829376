"""What the series of one study share: identifiers, scanner, storage, habits of the site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.phantom.dicom.identity import Identity
from training.phantom.dicom.names import SiteHabits, draw_habits
from training.phantom.dicom.recipe import Storage, StudyRecipe
from training.phantom.dicom.vendors.catalogue import VENDOR_STORAGE, Vendor
from training.phantom.dicom.vendors.header import Scanner
from training.phantom.scanner.protocols import Site, sample_site


@dataclass(frozen=True, slots=True)
class Session:
    """One visit of the patient to one scanner."""

    recipe: StudyRecipe
    identity: Identity
    site: Site
    vendor: Vendor
    storage: Storage
    scanner: Scanner
    habits: SiteHabits


def open_session(seed: int, recipe: StudyRecipe, rng: np.random.Generator) -> Session:
    """Draw what the recipe leaves open for the whole study.

    Args:
        seed: Of the patient.
        recipe: Of the study.
        rng: Source of randomness; a study with another draw from it has other identifiers.

    Raises:
        ValueError: The vendor's scanners do not write the storage asked for.
    """
    site = recipe.site or sample_site(rng, recipe.mix)
    identity = Identity(seed, f"{recipe.roles}/{recipe.storage}/{site}/{rng.integers(2**32)}")
    own = identity.rng("session")
    vendor = VENDOR_STORAGE[site.vendor]
    storage = recipe.storage or vendor.draw_storage(own)
    scanner = vendor.draw_scanner(storage, own)
    return Session(recipe, identity, site, vendor, storage, scanner, draw_habits(recipe.flaws, own))
