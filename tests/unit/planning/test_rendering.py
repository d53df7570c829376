"""The page and the FHIR drafts: everything that was decided is shown, nothing is markup."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from fhir.resources.bundle import Bundle

from models.volume import Role
from service.planning.rendering.fhir import to_fhir
from service.planning.rendering.html import to_html
from service.planning.rendering.picture import KeyImageFile, key_images_in
from service.planning.signing import sign
from service.report.document import TargetReport
from service.report.key_image_places import PanelPlace
from service.report.outputs import write_outputs
from tests.unit.planning import cases
from tests.unit.planning.test_plan import document
from tests.unit.report import made

TARGET: dict[str, Any] = {
    "point_lps_mm": (0.0, -10.0, 20.0),
    "depth_fraction": 0.29,
    "to_anterior_cortex_mm": 9.0,
    "to_posterior_wall_mm": 22.0,
    "to_superior_endplate_mm": 8.0,
    "to_inferior_endplate_mm": 8.5,
    "to_basivertebral_vein_mm": 12.0,
    "uncertainty_lps_mm": (2.0, 0.5, 0.5),
    "left": {
        "through_lps_mm": (12.0, 20.0, 24.0),
        "direction_lps": (-0.37, -0.92, -0.12),
        "medial_deg": 21.0,
        "caudal_deg": 7.0,
        "length_mm": 32.5,
    },
    "right": None,
    "limited_by": (),
    "diagrammatic": True,
}


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_the_page_says_what_it_is_and_under_which_profile() -> None:
    page = text_of(to_html(document()))
    assert "Draft, not signed" in page
    assert "overview 1.0.0" in page
    assert "Research use only; not for clinical decisions" in page


def test_a_signature_is_shown() -> None:
    page = text_of(to_html(sign(document(), "Dr. <b>", now=cases.NOW)))
    assert "Signed by Dr. &lt;b&gt;, 2026-01-02" in page
    assert "Draft, not signed" not in page


def test_every_rule_that_fired_or_stays_open_is_on_the_page_with_its_source() -> None:
    written = document(
        {"etiology": "pathological"}, {"level": "L2", "absent": ["acuity"]}, inr=None
    )
    page = to_html(written)
    candidates = [level for level in written.levels if level.candidate != "no"]
    rules = [*written.patient.fired, *written.patient.undecided]
    rules += [rule for level in candidates for rule in (*level.fired, *level.undecided)]
    assert len(rules) > 5
    for rule in rules:
        assert rule.id in page
        assert rule.source.where.replace("&", "&amp;").split("'")[0][:20] in page


def test_checklists_rates_and_controversy_are_on_the_page() -> None:
    page = to_html(document())
    for name in ("PRE-MRI", "ROOM-CPR", "STO-WALL", "DIS-PAIN", "COM-LEAK", "EVI-AGAINST"):
        assert name in page


def test_every_sentence_of_the_document_is_on_the_page() -> None:
    """Also advice of the patient, of the session and of the anesthesia; none is lost in layout."""
    written = document(
        {"etiology": "pathological", "mimics": {"discitis": 0.2}},
        {"level": "L2", "absent": ["acuity"]},
        {"level": "L3"},
        airway_risk=True,
        allergy_local_anaesthetic=True,
        anticoagulation="held",
        active_systemic_infection=True,
    )
    page = to_html(written)
    sentences_shown = [
        *written.patient.fired,
        *written.patient.undecided,
        *written.patient.considerations,
        *written.session.reasons,
    ]
    for level in written.levels:
        sentences_shown += [*level.fired, *level.undecided, level.reason]
        assert level.technique is not None
        sentences_shown += level.technique.considerations
    assert len({part.id for part in sentences_shown}) > 20
    for part in sentences_shown:
        assert escape(part.sentence) in page, part.id


def test_measurements_carry_their_uncertainty_or_say_why_there_is_none() -> None:
    geometry = {
        "target": TARGET,
        "pedicle_left": {"width_mm": None, "width_uncertainty_mm": None},
        "reasons": {
            "pedicle_left.width_mm": "insufficient_resolution",
            "target.right": "outside_field_of_view",
            "volume": "partial_body",
        },
    }
    written = document({"geometry": geometry, "absent": ["pedicle_right"]})
    page = text_of(to_html(written))
    assert "convex by 0.2, retropulsion 0.5 mm (± 0.6" in page
    assert "15.0 mm at its narrowest, 16.0 mm behind the body (± 0.5); compromise 0 ± 4 %" in page
    assert "left seen in 3 slices, 15 ± 0 mm high, width insufficient resolution" in page
    assert "Diagrammatic: left 21° medial, 7° caudal, 32 mm from mid-pedicle; right outside" in page
    assert "kyphosis with its neighbours 12° (± 2°)" in page
    assert written.levels[0].geometry is not None
    assert written.levels[0].geometry.canal is not None


def test_what_was_given_of_the_patient_is_on_the_page() -> None:
    page = text_of(to_html(document(inr=1.7)))
    assert "INR: 1.7" in page
    assert "Age: 78 years" in page
    assert "no, or none: " in page


def test_what_is_missing_is_named() -> None:
    written = document(inr=None, platelets_10e9_per_l=None)
    page = text_of(to_html(written))
    assert "INR; Platelets" in page
    assert "none of it is taken as normal" in page


def test_a_target_is_drawn_as_a_diagram_without_an_image() -> None:
    written = document({"geometry": {"target": TARGET}})
    page = to_html(written)
    assert 'class="target diagram"' in page
    assert (
        "To the anterior cortex 9.0, posterior wall 22.0, upper endplate 8.0, lower 8.5"
        in text_of(page)
    )
    assert "not a trajectory" in page


def test_a_target_that_was_not_measured_is_said() -> None:
    geometry = {"reasons": {"target": "insufficient_resolution"}}
    page = text_of(to_html(document({"geometry": geometry})))
    assert "Target not given: insufficient resolution" in page


def test_the_target_is_drawn_where_the_panel_says() -> None:
    target = TargetReport.model_validate(TARGET)
    panel = PanelPlace(
        role=Role.STIR,
        box_px=(12, 68, 288, 288),
        lps_to_px=((0.0, 4.0, 0.0, 150.0), (0.0, 0.0, -4.0, 290.0)),
        slice_lps_mm=(3.0, 0.0, 0.0),
        normal_lps=(1.0, 0.0, 0.0),
    )
    image = KeyImageFile(b"\x89PNG\r\n\x1a\n", (400, 400), panel, "L1")
    written = document({"geometry": {"target": TARGET}})
    label = written.levels[0].label_value
    page = to_html(written, images={label: image})
    assert 'cx="110.0" cy="210.0"' in page
    assert "Target 3 mm beside this slice" in text_of(page)
    start = np.array(target.point_lps_mm) - 32.5 * np.array([-0.37, -0.92, -0.12])
    x, y = panel.project(start)
    assert f"{x:.1f},{y:.1f} 110.0,210.0" in page


def test_key_images_are_found_beside_a_report(tmp_path: Path) -> None:
    result = made.result()
    write_outputs(result, tmp_path)
    images = key_images_in(tmp_path)
    assert images
    assert set(images) <= {level.label_value for level in result.report.levels}
    for image in images.values():
        left, top, width, height = image.panel.box_px
        assert left + width <= image.size[0]
        assert top + height <= image.size[1]


def test_without_key_images_there_are_none(tmp_path: Path) -> None:
    assert key_images_in(tmp_path) == {}
    (tmp_path / "key-images.json").write_text("{}")
    assert key_images_in(tmp_path) == {}


def test_fhir_drafts_validate_and_stay_drafts() -> None:
    written = document(
        {"level": "L1"},
        {"level": "L2", "normal": True},
        {"level": "L3", "etiology": "pathological"},
    )
    content = to_fhir(written)
    bundle = Bundle.model_validate_json(content)
    resources = [entry.resource for entry in bundle.entry]
    assert resources[0].__resource_type__ == "CarePlan"
    assert {resource.status for resource in resources} == {"draft"}
    assert {resource.intent for resource in resources} == {"proposal"}
    assert [item.level for item in written.session.levels] == ["L1"]
    assert len(resources) == 2
    assert any("L3: Pathological" in note.text for note in resources[0].note)
    assert to_fhir(written) == content


def test_fhir_names_the_site_and_no_unverified_code() -> None:
    bundle = json.loads(to_fhir(document({"level": "L1"})))
    request = bundle["entry"][1]["resource"]
    assert request["bodySite"][0]["coding"][0]["code"] == "66794005"
    assert "coding" not in request["code"]["concept"]


def test_a_closed_study_requests_nothing() -> None:
    bundle = json.loads(to_fhir(document({"level": "L1"}, active_systemic_infection=True)))
    assert [entry["resource"]["resourceType"] for entry in bundle["entry"]] == ["CarePlan"]
