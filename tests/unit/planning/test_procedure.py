"""The checklists: every statement of the overview has its sentence, and a bad file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.planning.errors import ProfileError
from service.planning.model import SectionKind
from service.planning.profiles import PACKAGED, load_profiles

PROFILE = load_profiles()["overview"]

OVERVIEW = {
    # Statement of the overview, in short: ids of which at least one must say it.
    "under fluoroscopy, sedation or general anesthesia": (
        "ANE-LOCAL",
        "ANE-GENERAL",
        "ROOM-FLUORO",
    ),
    "PMMA through a transpedicular or parapedicular approach": ("NEE-WAY", "STO-VISCOSITY"),
    "radiographs identify fractures": ("PRE-XRAY", "IMA-RADIOGRAPHS"),
    "MRI preferred: benign or pathological, acuity, unhealed": ("PRE-MRI",),
    "STIR or fat-saturated T2 for unhealed fractures": ("PRE-MRI", "IMA-FLUID"),
    "symptomatic osteoporotic or cancer-related, refractory": ("PRE-INDICATION", "CLI-17"),
    "pain prevents ambulation or physiotherapy despite analgesia": ("PRE-FAILURE", "CLI-20"),
    "significant side effects of analgesics": ("PRE-FAILURE", "CLI-20"),
    "at least 6 weeks of medical therapy": ("PRE-FAILURE", "CLI-20"),
    "absolute: systemic or spinal infection": ("PRE-ABSOLUTE", "CLI-03"),
    "absolute: uncorrectable bleeding diathesis": ("PRE-ABSOLUTE", "CLI-04"),
    "absolute: unfit for sedation or anesthesia": ("PRE-ABSOLUTE", "CLI-07"),
    "absolute: allergy to PMMA": ("PRE-ABSOLUTE", "CLI-06"),
    "relative: canal stenosis or compressive myelopathy": ("PRE-RELATIVE", "IMG-06"),
    "relative: radiculopathy exceeding local pain": ("PRE-RELATIVE", "CLI-08"),
    "suite with space": ("ROOM-SPACE",),
    "high-quality fluoroscopy, biplane preferred": ("ROOM-FLUORO",),
    "CT or MRI rapidly available": ("ROOM-CT",),
    "resuscitation equipment": ("ROOM-CPR",),
    "identity, procedure, site and consent": ("PAT-TIMEOUT",),
    "images in the procedure room": ("PAT-IMAGES",),
    "vital signs, oximetry, blood pressure": ("PAT-MONITOR",),
    "prone on a radiolucent table": ("PAT-PRONE",),
    "local anesthesia with moderate sedation": ("ANE-LOCAL",),
    "general anesthesia at risk or much pain": ("ANE-GENERAL",),
    "transpedicular or parapedicular under fluoroscopy": ("NEE-WAY",),
    "sterile preparation and local anesthetic": ("NEE-STERILE",),
    "11 to 13 gauge into the anterior third": ("NEE-THIRD", "APR-TARGET"),
    "proper viscosity": ("STO-VISCOSITY",),
    "continuous fluoroscopic monitoring": ("STO-WATCH",),
    "stop at the posterior wall": ("STO-WALL",),
    "stop at leakage": ("STO-LEAK",),
    "bed rest and observation": ("MON-REST",),
    "vital signs and neurology of the legs": ("MON-NEURO",),
    "supervised ambulation": ("MON-WALK",),
    "discharge the same day or after a night": ("DIS-HOME",),
    "near-term follow-up of pain and mobility": ("DIS-FOLLOW",),
    "report sudden or new back pain": ("DIS-PAIN",),
    "major complications under 1 % and under 5 %": ("COM-MAJOR", "LEA-NEOPLASTIC"),
    "cement leakage, common and silent": ("COM-LEAK", "LEA-BASE"),
    "nerve or cord injury": ("COM-NERVE",),
    "pulmonary embolism of cement, air or fat": ("COM-EMBOLI",),
    "infection": ("COM-INFECTION",),
    "bleeding": ("COM-BLEEDING",),
    "fracture of rib, pedicle or body": ("COM-BONE",),
    "cardiovascular complications": ("COM-HEART",),
    "pneumothorax": ("COM-LUNG", "APR-THORACIC"),
    "leakage 72 % in VERTOS II": ("COM-LEAK",),
    "cement emboli about 26 %": ("COM-EMBOLI",),
    "secondary fractures about 19 % in 2 years": ("COM-FRACTURE",),
    "imaging at once on deterioration": ("MON-WORSE",),
    "reduces pain and improves quality of life in those selected": ("EVI-FOR",),
    "pending human review": ("EVI-SECONDARY",),
}

SAID = {
    **{rule.id: rule.sentence for rule in PROFILE.rules},
    **{item.id: item.sentence for item in PROFILE.technique.advice},
    **{item.id: item.sentence for part in PROFILE.procedure.sections for item in part.items},
}


@pytest.mark.parametrize("statement", OVERVIEW)
def test_every_statement_of_the_overview_has_its_place(statement: str) -> None:
    assert set(OVERVIEW[statement]) <= set(SAID)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("COM-MAJOR", ("1 %", "5 %")),
        ("COM-LEAK", ("72 %", "VERTOS II")),
        ("COM-EMBOLI", ("26 %",)),
        ("COM-FRACTURE", ("19 %", "2 years")),
        ("PRE-FAILURE", ("6 weeks",)),
        ("NEE-THIRD", ("11 to 13 gauge", "anterior third")),
    ],
)
def test_figures_are_those_of_the_source(name: str, words: tuple[str, ...]) -> None:
    assert all(word in SAID[name] for word in words)


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
