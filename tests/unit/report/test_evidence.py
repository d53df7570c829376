"""What is shown beside the calls: evidence, contradictions, intervals, infection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.findings import Acuity, Feature, LevelFindings, Scores
from models.volume import Role
from service.report.assemble import assemble
from service.report.drawing import views_of
from service.report.html import to_html
from service.report.key_images import key_images
from service.report.painting import evidence_palette
from service.report.result import StudyResult
from tests.unit.report import made


def changed(scores: Scores, level: int, **changes: object) -> Scores:
    levels = list(scores.levels)
    levels[level] = replace(levels[level], **changes)
    return replace(scores, levels=tuple(levels))


def shown(scores: Scores) -> StudyResult:
    """The made study with other scores, its report written anew."""
    plain = made.result()
    report = assemble(plain.ingested, plain.localisation, scores, plain.report.provenance)
    return replace(plain, scores=scores, report=report)


def explained() -> StudyResult:
    """The third body: evidence for in its upper half, against in its lower."""
    plain = made.result()
    assert plain.scores is not None
    assert plain.localisation is not None
    rows = np.argwhere(plain.localisation.labels == 3)[:, 1]
    upper = np.arange(plain.localisation.labels.shape[1])[:, None] < rows.mean()
    sign = np.where(upper, 1.0, -1.0).astype(np.float32)
    evidence = np.where(plain.localisation.labels == 3, sign, np.float32(0.0))
    return shown(replace(plain.scores, evidence_map=evidence.astype(np.float32)))


def test_evidence_lies_on_its_body_in_the_t1_picture() -> None:
    views = views_of(explained())
    assert views is not None
    assert views.evidence_role is Role.T1
    assert [views.explains(index) for index in (1, 2, 3)] == [False, False, True]
    view = views.crop(Role.T1, 3, 4.0)
    evidence = views.evidence(view)
    assert evidence is not None
    assert evidence.shape == view.grey.shape
    (outline,) = views.outlines(view, (3,))
    (line,) = outline.lines
    (left, top), (right, bottom) = line.min(axis=0), line.max(axis=0)
    x, quarter = int((left + right) / 2), (bottom - top) / 4
    assert evidence[int(top + quarter), x] > 230
    assert evidence[int(bottom - quarter), x] < 25
    assert abs(int(evidence[3, 3]) - 128) <= 1
    assert views.evidence(views.crop(Role.T1, 1, 4.0)) is None


def test_nothing_is_painted_where_there_is_no_evidence() -> None:
    palette = evidence_palette()
    assert palette[126:131, 3].max() == 0
    assert palette[0, 3] > 100
    assert palette[255, 3] > 100
    assert not np.array_equal(palette[0, :3], palette[255, :3])


def test_a_key_image_gets_one_more_panel_and_no_more_places() -> None:
    plain, more = (list(key_images(result)) for result in (made.result(), explained()))
    assert [image.png for image in plain[:2]] == [image.png for image in more[:2]]
    assert plain[2].png != more[2].png
    assert plain[2].panels == more[2].panels


def test_the_page_shows_evidence_and_says_what_its_colours_mean() -> None:
    page = to_html(explained())
    assert page.count("pink speaks for, blue against") == 1
    assert "pink speaks for" not in to_html(made.result())


def test_contradictions_infection_interval_and_distance_are_told() -> None:
    scores = made.result().scores
    assert scores is not None
    level: LevelFindings = scores.levels[1]
    assert level.edema is not None
    assert level.acuity is not None
    result = shown(
        changed(
            scores,
            1,
            edema=replace(level.edema, extent_interval=(0.31, 0.62)),
            acuity=replace(level.acuity, prediction_set=(Acuity.UNHEALED, Acuity.HEALED)),
            features={
                "fluid_sign": Feature(0.4),
                "t1_ratio_to_muscle": Feature(None, 1.5, "ratio"),
            },
            in_distribution=False,
            distribution_score=1.234,
            disagreements=("fracture_against_height_loss",),
            safety=("possible_spondylodiscitis",),
        )
    )
    told = result.report.levels[1]
    assert told.edema is not None
    assert told.edema.extent_interval == (0.31, 0.62)
    assert told.disagreements == ("fracture_against_height_loss",)
    assert told.safety == ("possible_spondylodiscitis",)
    assert told.distribution_score == 1.234
    page = to_html(result)
    for words in (
        "31% to 62%",
        "cannot tell unhealed from healed",
        "Signs seen",
        "Signs measured",
        "fracture against height loss: network and measurement differ",
        "Infection must be excluded first",
        "distance 1.234, 1 is the edge",
    ):
        assert words in page, words
    assert "Infection must be excluded" not in to_html(made.result())
