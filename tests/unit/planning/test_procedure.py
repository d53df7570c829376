"""The checklists: every statement of the overview has its sentence, and a bad file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.planning.errors import ProfileError
from service.planning.model import SectionKind
from service.planning.plan import plan
from service.planning.profiles import PACKAGED, load_profiles
from service.planning.rendering.html import to_html
from tests.unit.planning import cases

PROFILE = load_profiles()["overview"]

OVERVIEW: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    # Statement of the overview, in short, in its order: where it stands, and the words that say it.
    "fluoroscopic guidance": (("PRE-AIM", ("fluoroscopy",)), ("ROOM-FLUORO", ("fluoroscopy",))),
    "moderate sedation or general anesthesia": (
        ("ANE-LOCAL", ("moderate sedation",)),
        ("ANE-GENERAL", ("General anesthesia",)),
    ),
    "percutaneous injection of PMMA": (("PRE-AIM", ("PMMA", "through the skin")),),
    "transpedicular or parapedicular": (("NEE-WAY", ("Transpedicular or parapedicular",)),),
    "to stabilize the fracture and relieve pain": (("PRE-AIM", ("steadies", "relieves pain")),),
    "radiographs identify fractures": (
        ("PRE-XRAY", ("Radiographs", "compression fractures")),
        ("IMA-RADIOGRAPHS", ("radiographs to identify compression fractures",)),
    ),
    "MRI preferred: benign or pathological, acuity, unhealed": (
        ("PRE-MRI", ("preferred", "benign or pathological", "acuity", "unhealed")),
    ),
    "STIR or fat-saturated T2": (
        ("PRE-MRI", ("STIR or fat-saturated T2",)),
        ("IMA-FLUID", ("STIR or fat-suppressed T2", "most useful")),
        ("IMG-00", ("STIR, fat-suppressed T2",)),
    ),
    "symptomatic osteoporotic or cancer-related, refractory": (
        ("PRE-INDICATION", ("Symptomatic osteoporotic or cancer-related", "refractory")),
        ("CLI-17", ("neither osteoporotic nor cancer-related",)),
    ),
    "pain prevents ambulation or physical therapy despite appropriate analgesia": (
        ("PRE-FAILURE", ("walking or physiotherapy", "despite appropriate analgesia")),
        ("CLI-20", ("{ambulation}", "{physiotherapy_tolerated}")),
    ),
    "significant side effects of the doses required": (
        ("PRE-FAILURE", ("significant side effects",)),
        ("CLI-20", ("{analgesic_side_effects}",)),
    ),
    "at least 6 weeks of medical therapy": (
        ("PRE-FAILURE", ("at least 6 weeks",)),
        ("CLI-20", ("{medical_therapy_weeks}",)),
    ),
    "absolute: active systemic infection": (
        ("PRE-ABSOLUTE", ("active systemic or spinal infection",)),
        ("CLI-03", ("systemic infection", "absolute")),
    ),
    "absolute: particularly spinal infection": (("CLI-13", ("spinal infection", "absolute")),),
    "absolute: uncorrectable bleeding diathesis": (
        ("PRE-ABSOLUTE", ("uncorrectable bleeding diathesis",)),
        ("CLI-04", ("cannot be corrected", "absolute")),
    ),
    "absolute: cardiopulmonary health": (
        ("PRE-ABSOLUTE", ("unfit for sedation and anesthesia",)),
        ("CLI-07", ("Cardiopulmonary", "absolute")),
    ),
    "absolute: allergy to PMMA": (
        ("PRE-ABSOLUTE", ("allergy to PMMA",)),
        ("CLI-06", ("PMMA", "absolute")),
    ),
    "relative: canal stenosis or compressive myelopathy": (
        ("PRE-RELATIVE", ("canal stenosis", "compressive myelopathy")),
        ("IMG-06", ("stenosis", "relative")),
        ("CLI-11", ("stenosis", "relative")),
        ("CLI-14", ("compressive myelopathy", "relative")),
    ),
    "relative: radiculopathy exceeding local pain": (
        ("PRE-RELATIVE", ("radiculopathy exceeding local pain",)),
        ("CLI-08", ("Radiculopathy exceeds the local pain", "relative")),
    ),
    "suite with space": (("ROOM-SPACE", ("space", "monitoring and imaging")),),
    "high-quality fluoroscopy, biplane preferred while cement is delivered": (
        ("ROOM-FLUORO", ("High-quality", "biplane preferred", "cement")),
    ),
    "rapid CT or MRI for complications": (("ROOM-CT", ("CT or MRI rapidly", "complications")),),
    "resuscitation equipment": (("ROOM-CPR", ("Resuscitation",)),),
    "identity, procedure, site and consent": (
        ("PAT-TIMEOUT", ("Identity", "procedure", "site", "consent")),
    ),
    "images in the procedure room": (("PAT-IMAGES", ("Images", "room")),),
    "vital signs, oximetry, blood pressure": (
        ("PAT-MONITOR", ("Vital signs", "oximetry", "blood pressure")),
    ),
    "prone on a radiolucent table": (("PAT-PRONE", ("Prone", "radiolucent")),),
    "most under local anesthesia with moderate sedation": (
        ("ANE-LOCAL", ("Local anesthesia", "most")),
    ),
    "general anesthesia at airway or respiratory risk or for pain control": (
        ("ANE-GENERAL", ("airway or respiratory risk", "pain needs much control")),
        ("ANA-GENERAL", ("{airway_risk}",)),
    ),
    "sterile preparation and local anesthetic": (("NEE-STERILE", ("Sterile", "local anesthetic")),),
    "11 to 13 gauge into the anterior third": (
        ("NEE-THIRD", ("11 to 13 gauge", "anterior third")),
    ),
    "proper viscosity": (("STO-VISCOSITY", ("PMMA of proper viscosity",)),),
    "continuous fluoroscopic monitoring": (("STO-WATCH", ("Continuous fluoroscopy",)),),
    "stop at the posterior wall": (("STO-WALL", ("STOP", "posterior wall")),),
    "stop at leakage": (("STO-LEAK", ("STOP", "leak")),),
    "bed rest and observation": (("MON-REST", ("Bed rest and observation",)),),
    "vital signs and neurology of the legs": (
        ("MON-NEURO", ("Vital signs", "neurology of the legs", "regular")),
    ),
    "supervised ambulation": (("MON-WALK", ("walk supervised",)),),
    "discharge the same day or after a night": (("DIS-HOME", ("same day", "night")),),
    "near-term follow-up of pain and mobility": (("DIS-FOLLOW", ("pain and mobility",)),),
    "report sudden or new back pain, perhaps a new fracture": (
        ("DIS-PAIN", ("sudden", "new back pain", "new fracture")),
    ),
    "major complications under 1 % and under 5 %": (
        ("COM-MAJOR", ("under 1 % in osteoporotic", "under 5 % in neoplastic")),
        ("LEA-NEOPLASTIC", ("below 5 % in neoplastic", "below 1 % in osteoporotic")),
    ),
    "cement leakage, common and silent": (("COM-LEAK", ("leakage", "without symptoms")),),
    "nerve or cord injury": (("COM-NERVE", ("nerve", "spinal cord")),),
    "pulmonary embolism of cement, air or fat": (
        ("COM-EMBOLI", ("Pulmonary embolism", "cement", "air", "fat")),
    ),
    "infection: osteomyelitis, epidural abscess": (
        ("COM-INFECTION", ("osteomyelitis", "epidural abscess")),
    ),
    "bleeding: vascular injury, hematoma": (("COM-BLEEDING", ("vessel", "hematoma")),),
    "fracture of rib, pedicle or body": (("COM-BONE", ("rib", "pedicle", "body")),),
    "cardiovascular complications": (("COM-HEART", ("Cardiovascular",)),),
    "pneumothorax at thoracic levels": (
        ("COM-LUNG", ("Pneumothorax", "thoracic")),
        ("APR-THORACIC", ("Pneumothorax", "thoracic")),
    ),
    "leakage 72 % in VERTOS II": (("COM-LEAK", ("72 %", "VERTOS II")),),
    "cement emboli about 26 %, silent": (("COM-EMBOLI", ("26 %", "without symptoms")),),
    "secondary fractures about 19 % in 2 years, as without": (
        ("COM-FRACTURE", ("19 %", "2 years", "as without")),
    ),
    "cross-sectional imaging at once on deterioration": (
        ("MON-WORSE", ("deterioration", "cross-sectional imaging at once")),
    ),
    "less pain and better life in appropriately selected patients": (
        ("EVI-FOR", ("less pain", "quality of life", "well chosen")),
    ),
    "pending human review": (("EVI-SECONDARY", ("pending human review",)),),
    "disclaimer: verify, and use clinical judgment": (
        ("EVI-SECONDARY", ("verify", "primary literature", "clinical judgment")),
    ),
}

SAID = {
    **{rule.id: rule.sentence for rule in PROFILE.rules},
    **{item.id: item.sentence for item in PROFILE.technique.advice},
    **{item.id: item.sentence for part in PROFILE.procedure.sections for item in part.items},
}


@pytest.mark.parametrize("statement", OVERVIEW)
def test_every_statement_of_the_overview_has_its_place(statement: str) -> None:
    for name, words in OVERVIEW[statement]:
        for word in words:
            assert word in SAID[name], (name, word)


def test_the_references_of_the_overview_are_named_with_it() -> None:
    source = next(item.source for item in PROFILE.rules if item.source.key == "overview")
    for word in ("guideline topic overview", "Radiographics 1998", "5 September 2025"):
        assert word in source.text


def test_every_sentence_of_the_checklists_that_names_the_overview_is_in_this_map() -> None:
    """So that nothing is put into the overview's mouth."""
    mapped = {name for places in OVERVIEW.values() for name, _ in places}
    named = {
        item.id
        for part in PROFILE.procedure.sections
        for item in part.items
        if item.source.key == "overview"
    }
    assert named - mapped == set()


def test_every_checklist_sentence_is_in_the_document_and_on_the_page() -> None:
    document = plan(cases.report(), cases.clinical(), PROFILE, now=cases.NOW)
    page = to_html(document)
    for part in PROFILE.procedure.sections:
        for item in part.items:
            assert item.sentence in document.model_dump_json()
            assert item.sentence in page


def test_every_kind_of_section_is_there() -> None:
    assert {part.kind for part in PROFILE.procedure.sections} == set(SectionKind)


def procedure_file(folder: Path, item: str) -> Path:
    (folder / "procedure.toml").write_text(
        'schema = "planning-procedure/1"\nversion = "1.0.0"\n'
        '[sources]\nsite = "Own practice"\n'
        f'[[sections]]\nid = "room"\ntitle = "Room"\nkind = "checklist"\nitems = [{item}]\n'
    )
    return folder


ITEM = 'sentence = "{}", source = "{}", where = "here", evidence = "setting"'


def test_a_site_brings_its_own(tmp_path: Path) -> None:
    item = f'{{ id = "ROOM-ONE", {ITEM.format("Lead aprons on.", "site")} }}'
    profile = load_profiles(procedure_file(tmp_path, item))["overview"]
    assert [part.items[0].sentence for part in profile.procedure.sections] == ["Lead aprons on."]
    assert profile.procedure.sha256 != PROFILE.procedure.sha256


@pytest.mark.parametrize(
    ("sentence", "source", "problem"),
    [
        ("Lead aprons on.", "nowhere", "unknown_source"),
        ("Aprons for {age_years}.", "site", "unknown_placeholder"),
        ("Proceed with the needle.", "site", "forbidden_wording"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(
    tmp_path: Path, sentence: str, source: str, problem: str
) -> None:
    item = f'{{ id = "ROOM-ONE", {ITEM.format(sentence, source)} }}'
    with pytest.raises(ProfileError) as caught:
        load_profiles(procedure_file(tmp_path, item))
    assert caught.value.problem == problem
    assert "ROOM-ONE" in str(caught.value)


def test_two_sentences_may_not_share_an_id(tmp_path: Path) -> None:
    item = f'{{ id = "ROOM-ONE", {ITEM.format("Lead aprons on.", "site")} }}'
    with pytest.raises(ProfileError) as caught:
        load_profiles(procedure_file(tmp_path, f"{item}, {item}"))
    assert caught.value.problem == "duplicate_id"


def test_the_shipped_file_is_no_profile() -> None:
    assert not (PACKAGED / "procedure.toml").exists()
    assert set(load_profiles()) == {"nice", "overview", "sir"}
