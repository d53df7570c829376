"""Codes of FHIR resources that answer a field of the clinical input, and no others.

A code that only touches a field without answering it (a bleeding disorder says nothing of being
correctable) is in a table of its own: it is told, and the field stays unknown.

Sources: LOINC, SNOMED CT, ICD-10, ATC and RxNorm as published; FHIR R4 and R5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LOINC: Final = "http://loinc.org"
SNOMED: Final = "http://snomed.info/sct"
ATC: Final = "http://www.whocc.no/atc"
RXNORM: Final = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10: Final = frozenset(
    {
        "http://hl7.org/fhir/sid/icd-10",
        "http://hl7.org/fhir/sid/icd-10-cm",
        "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    }
)

OWN_SYSTEM: Final = "urn:vertebral-acuity:clinical"
"""Code system whose codes are the field names themselves: any field can be sent so."""

NUMBERS: Final[Mapping[str, tuple[str, Mapping[str, float]]]] = {
    "6301-6": ("inr", {"": 1.0, "1": 1.0, "{INR}": 1.0}),
    "34714-6": ("inr", {"": 1.0, "1": 1.0, "{INR}": 1.0}),
    "777-3": ("platelets_10e9_per_l", {"10*9/L": 1.0, "10*3/uL": 1.0, "/uL": 0.001}),
    "26515-7": ("platelets_10e9_per_l", {"10*9/L": 1.0, "10*3/uL": 1.0, "/uL": 0.001}),
    "30525-0": ("age_years", {"a": 1.0}),
}
"""LOINC code to the field and, per UCUM unit, the factor to the field's unit."""

PREGNANCY: Final = "82810-3"
PREGNANCY_ANSWERS: Final[Mapping[tuple[str, str], str]] = {
    (SNOMED, "77386006"): "yes",
    (SNOMED, "60001007"): "no",
    (LOINC, "LA15173-0"): "yes",
    (LOINC, "LA26683-5"): "no",
}
"""Answers to LOINC 82810-3, pregnancy status."""

CONDITIONS: Final[Mapping[str, tuple[str, bool | str]]] = {
    "161891005": ("pain_present", True),
    "279039007": ("pain_present", True),
    "91302008": ("active_systemic_infection", True),
    "77386006": ("pregnancy", "yes"),
    "71286001": ("myelopathy", True),
    "266987004": ("cancer_history", "past"),
    "363346000": ("cancer_history", "active"),
}
"""SNOMED code of an active condition to the field it answers."""

CONDITION_PREFIXES: Final[Mapping[str, tuple[str, bool | str]]] = {
    "A40": ("active_systemic_infection", True),
    "A41": ("active_systemic_infection", True),
    "C": ("cancer_history", "active"),
    "G061": ("active_spinal_infection", True),
    "G952": ("myelopathy", True),
    "M462": ("active_spinal_infection", True),
    "M463": ("active_spinal_infection", True),
    "M464": ("active_spinal_infection", True),
    "M545": ("pain_present", True),
    "M8008": ("fracture_cause", "osteoporotic"),
    "Z33": ("pregnancy", "yes"),
    "Z85": ("cancer_history", "past"),
}
"""Beginning of an ICD-10 code, without its point, to the field an active condition answers."""

PAST_CANCER: Final = frozenset({"inactive", "remission", "resolved"})
"""Clinical states in which a cancer counts as past, not as absent."""

JUDGEMENTS: Final[Mapping[str, str]] = {
    "64779008": "bleeding_disorder",
    "76107001": "stenosis_symptoms",
    "D65": "bleeding_disorder",
    "D66": "bleeding_disorder",
    "D67": "bleeding_disorder",
    "D68": "bleeding_disorder",
    "D69": "bleeding_disorder",
    "M480": "stenosis_symptoms",
    "M541": "radiculopathy",
}
"""SNOMED code, or beginning of an ICD-10 code, that bears on a field without answering it."""

NO_KNOWN_ALLERGY: Final = "716186003"
ALLERGY_FIELDS: Final = ("allergy_pmma", "allergy_contrast", "allergy_local_anaesthetic")
ALLERGIES: Final[Mapping[str, str]] = {
    "293637006": "allergy_contrast",
    "294200003": "allergy_local_anaesthetic",
}
"""SNOMED code of an allergy to its field. PMMA has none that is widely used: send it as our own."""

ANTITHROMBOTIC_ATC: Final = "B01A"
ANTITHROMBOTIC_RXNORM: Final = frozenset(
    {
        "11289", "1364430", "1114195", "1037042", "1599538", "32968", "1191", "67108", "5224",
        "1116632", "613391",
    }
)  # fmt: skip
"""Warfarin, apixaban, rivaroxaban, dabigatran, edoxaban, clopidogrel, aspirin, enoxaparin, heparin,
ticagrelor, prasugrel."""

THERAPIES_ATC: Final[Mapping[str, str]] = {
    "N02A": "opioids",
    "N02B": "analgesics",
    "M01A": "analgesics",
    "M05B": "bone_medication",
}
"""Beginning of an ATC code to a kind of medical therapy."""
