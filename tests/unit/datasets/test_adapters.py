from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason="needs the [train] extra")

from tests.builders import uid
from tests.unit.datasets.made import (
    KEYS,
    blocks,
    write_csv,
    write_mha,
    write_nifti,
    write_rsna,
    write_study,
)
from tests.unit.datasets.segmentation import Segment, coded, write_segmentation
from training.datasets.__main__ import main
from training.datasets.adapters.labelled import LabelledSource, labelled_rows
from training.datasets.adapters.masks import MaskSource, mask_rows
from training.datasets.adapters.phantom import phantom_rows
from training.datasets.adapters.rsna2024 import RsnaSource, rsna_rows
from training.datasets.adapters.spider import COLUMNS, SpiderSource, spider_rows
from training.datasets.checks import check_manifest
from training.datasets.errors import (
    KeyMissingError,
    LabelTableError,
    ManifestChecksError,
    MaskError,
    SourceLayoutError,
)
from training.datasets.manifest import read_manifest, write_manifest
from training.datasets.mask_images import read_values
from training.datasets.rows import LabelRow, Split
from training.datasets.split import SplitRule

pytestmark = pytest.mark.train

RULE = SplitRule()
LINE = {"study_instance_uid": uid("one"), "level": "l2", "edema": "Yes", "fracture": "0"}


def labelled(tmp_path: Path, *lines: dict[str, str]) -> LabelledSource:
    write_study(tmp_path / "studies" / "deep" / "a", "one", seed=0)
    write_study(tmp_path / "studies" / "b", "two", seed=9)
    table = write_csv(tmp_path / "labels.csv", lines)
    return LabelledSource(tmp_path / "studies", table, RULE, KEYS)


def test_a_labelled_folder_with_answers_as_people_write_them(tmp_path: Path) -> None:
    other = LINE | {"level": "L3", "edema": "?", "fracture": ""}
    adapted = labelled_rows(labelled(tmp_path, LINE, other))
    first, second = adapted.rows
    assert (first.level, first.edema, first.fracture) == ("L2", "present", "absent")
    assert (second.edema, second.fracture) == ("indeterminate", None)
    assert (first.sex, first.age_years) == ("F", 71.0)
    assert first.patient_key == KEYS.of("one")
    assert "one" not in first.patient_key
    manifest = write_manifest(tmp_path / "m.csv", adapted.rows)
    assert manifest.rows[0].study_path == "studies/deep/a"
    assert check_manifest(read_manifest(tmp_path / "m.csv")).findings == ()


def test_a_study_may_be_named_by_its_folder(tmp_path: Path) -> None:
    line = {"folder": "deep", "level": "T12", "edema": "no", "reader": "dr-a"}
    (row,) = labelled_rows(labelled(tmp_path, line)).rows
    assert (row.study_instance_uid, row.reader) == (uid("one"), "dr-a")
    gone = {"folder": "c", "level": "T12", "edema": "no"}
    assert labelled_rows(labelled(tmp_path, gone)).skipped_by_code == {"study_missing": 1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"edema": "perhaps so"}, "line 2, edema: say one of"),
        ({"level": "L9"}, "line 2, level"),
        ({"acuity": "fresh"}, "line 2, acuity"),
        ({"extent": "40"}, "line 2, extent"),
        ({"oedema": "yes"}, "'oedema' is not known; is it edema"),
    ],
)
def test_labels_that_are_not_understood(tmp_path: Path, change: dict[str, str], told: str) -> None:
    with pytest.raises(LabelTableError, match=told):
        labelled_rows(labelled(tmp_path, LINE | change))


def test_a_table_without_level_or_labels(tmp_path: Path) -> None:
    with pytest.raises(LabelTableError, match="columns missing: level"):
        labelled_rows(labelled(tmp_path, {"folder": "b", "edema": "yes"}))
    with pytest.raises(LabelTableError, match="no label column"):
        labelled_rows(labelled(tmp_path, {"folder": "b", "level": "L1"}))


def test_two_studies_in_one_folder_are_left_out(tmp_path: Path) -> None:
    write_study(tmp_path / "s" / "mixed", "one")
    write_study(tmp_path / "s" / "mixed" / "below", "two", seed=3)
    table = write_csv(tmp_path / "labels.csv", [LINE])
    adapted = labelled_rows(LabelledSource(tmp_path / "s", table, RULE, KEYS))
    assert adapted.rows == []
    assert adapted.skipped_by_code == {"several_studies_in_folder": 2, "study_missing": 1}


def test_the_same_study_sent_twice_leaks_whatever_its_uids(tmp_path: Path) -> None:
    write_study(tmp_path / "s" / "a", "one", seed=4)
    write_study(tmp_path / "s" / "b", "two", seed=4)
    lines = [{"folder": name, "level": "L1", "edema": "no"} for name in ("a", "b")]
    table = write_csv(tmp_path / "labels.csv", lines)
    rows = labelled_rows(LabelledSource(tmp_path / "s", table, RULE, KEYS)).rows
    rows[1] = rows[1].model_copy(update={"split": Split.TEST})
    rows[0] = rows[0].model_copy(update={"split": Split.TRAIN})
    report = check_manifest(write_manifest(tmp_path / "m.csv", rows))
    assert [finding.code for finding in report.errors] == ["leaking_pixels"]


def spider(root: Path) -> SpiderSource:
    pixels = np.random.default_rng(0)
    values = [5, 4, 3, 2, 1]  # L1 to L5, from the top
    for name in ("1_t1", "1_t2", "2_t2"):
        write_mha(root / "images" / f"{name}.mha", pixels.integers(0, 900, (5, 40, 20), np.int16))
        write_mha(root / "masks" / f"{name}.mha", blocks(values))
    write_mha(root / "images" / "3_t2.mha", np.zeros((5, 40, 20), np.int16))
    overview = [
        {"new_file_name": "1_t1", "subset": "training", "sex": "F "},
        {"new_file_name": "1_t2", "subset": "training", "sex": "F "},
        {"new_file_name": "2_t2", "subset": "validation", "sex": "M"},
    ]
    write_csv(root / "overview.csv", overview)
    none = dict.fromkeys(COLUMNS, 0) | {"Pfirrman grade": 2}
    gradings = [{"Patient": 1, "IVD label": disc} | none for disc in range(6)]
    gradings[2] |= {"Modic": 1}  # L4/L5
    gradings[4] |= {"LOW endplate": 1}  # L2/L3: the upper endplate of L3
    write_csv(root / "radiological_gradings.csv", gradings)
    return SpiderSource(root, SplitRule(0.0, 0.0), KEYS)


def test_spider(tmp_path: Path) -> None:
    adapted = spider_rows(spider(tmp_path))
    assert adapted.skipped_by_code == {"mask_missing": 1}
    one = {row.level: row for row in adapted.rows if row.study_path.endswith("1_t2.mha")}
    assert list(one) == ["L1", "L2", "L3", "L4", "L5"]
    modic = {level: row.mimic_modic_1 for level, row in one.items()}
    # Above L1 no disc was graded, so nothing is said of it.
    assert modic == {"L1": None, "L2": False, "L3": False, "L4": True, "L5": True}
    schmorl = {level: row.mimic_schmorl_node for level, row in one.items()}
    assert schmorl == {"L1": None, "L2": False, "L3": True, "L4": False, "L5": False}
    assert one["L4"].weak_labels == "level;mimic_modic_1;mimic_schmorl_node"
    assert json.loads(one["L4"].source_labels)["disc_below"]["Modic"] == 1
    assert one["L3"].edema is None
    assert {row.split for row in one.values()} == {Split.TRAIN}
    held = [row for row in adapted.rows if row.study_path.endswith("2_t2.mha")]
    assert {row.split for row in held} == {Split.TEST}
    assert {row.sex for row in held} == {"M"}
    heights = [one[level].superior_mm for level in one]
    assert heights == sorted(heights, reverse=True)  # type: ignore[type-var]
    assert check_manifest(write_manifest(tmp_path / "m.parquet", adapted.rows)).errors == ()


def test_spider_without_its_tables(tmp_path: Path) -> None:
    source = spider(tmp_path)
    (tmp_path / "overview.csv").unlink()
    with pytest.raises(SourceLayoutError, match="has overview"):
        spider_rows(source)
    write_csv(tmp_path / "overview.csv", [{"new_file_name": "1_t2"}])
    with pytest.raises(LabelTableError, match="columns missing: subset"):
        spider_rows(source)


def test_rsna2024(tmp_path: Path) -> None:
    adapted = rsna_rows(RsnaSource(write_rsna(tmp_path), RULE, KEYS))
    assert [row.level for row in adapted.rows] == ["L1", "L2", "L3", "L4", "L5"]
    told = json.loads(adapted.rows[3].source_labels)
    assert told["disc_below"]["spinal_canal_stenosis"] == "Severe"
    # Pixel (10, 20) of slice 3 of the builders' grid: y = -80 + 10 * 0.7, z = 120 - 20 * 0.9; the
    # slices follow along rows x columns, which is to the right.
    assert told["disc_below"]["canal_lps_mm"] == pytest.approx([-30 - 2 * 4.4, -73.0, 102.0])
    assert json.loads(adapted.rows[4].source_labels)["disc_above"] == told["disc_below"]
    first = json.loads(adapted.rows[0].source_labels)["disc_below"]
    assert first["left_subarticular_stenosis"] is None
    assert "canal_lps_mm" not in first
    assert check_manifest(write_manifest(tmp_path / "m.csv", adapted.rows)).errors == ()


def test_rsna2024_with_a_grade_that_there_is_not(tmp_path: Path) -> None:
    write_rsna(tmp_path)
    text = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").write_text(text.replace("Severe", "Terrible"))
    with pytest.raises(LabelTableError, match="line 2, spinal_canal_stenosis_l4_l5"):
        rsna_rows(RsnaSource(tmp_path, RULE, KEYS))


def masks(root: Path, scheme: str) -> MaskSource:
    return MaskSource(root, root, scheme, RULE, KEYS)


@pytest.mark.parametrize(
    ("scheme", "values"),
    [
        ("verse", [19, 20, 21]),
        ("totalspineseg", [32, 41, 42]),
        ("totalspineseg_2024", [23, 22, 21]),
    ],
)
def test_a_nifti_mask_beside_its_dicom_study(
    tmp_path: Path, scheme: str, values: list[int]
) -> None:
    write_study(tmp_path / "p1" / "dicom", "one")
    labels = blocks(values, (5, 24, 20))[:, :24]
    write_nifti(tmp_path / "p1" / "vertebrae.nii.gz", labels)
    rows = mask_rows(masks(tmp_path, scheme)).rows
    assert [row.level for row in rows] == ["T12", "L1", "L2"]
    assert rows[0].series_instance_uid == uid("one", "series")
    # Rows 2 to 5 of the first block, columns 5 to 11, slices 1 to 3.
    assert rows[0].centre_lps_mm == pytest.approx(
        (-30 - 2 * 4.4, -80 + 8 * 0.7, 120 - 3.5 * 0.9), abs=0.02
    )
    assert check_manifest(write_manifest(tmp_path / "m.csv", rows)).errors == ()


def test_a_mask_on_another_grid_has_no_image(tmp_path: Path) -> None:
    from tests.builders import Grid

    write_study(tmp_path / "p1" / "dicom", "one")
    moved = Grid(origin=(-30.0, -70.0, 120.0))
    write_nifti(tmp_path / "p1" / "vertebrae.nii.gz", blocks([20, 21, 22], (5, 24, 20)), moved)
    assert mask_rows(masks(tmp_path, "verse")).skipped_by_code == {"image_missing": 1}


def test_a_nifti_mask_of_a_nifti_image(tmp_path: Path) -> None:
    write_nifti(tmp_path / "sub-01_T2w.nii.gz", blocks([100, 90, 80], (5, 24, 20)))
    write_nifti(tmp_path / "sub-01_T2w_seg-vert_msk.nii.gz", blocks([20, 21, 22], (5, 24, 20)))
    rows = mask_rows(masks(tmp_path, "verse")).rows
    assert [row.level for row in rows] == ["L1", "L2", "L3"]
    assert rows[0].patient_key == KEYS.of("sub-01")
    assert rows[0].study_path.endswith("sub-01_T2w.nii.gz")


def test_a_mask_of_another_scheme_is_not_believed(tmp_path: Path) -> None:
    write_study(tmp_path / "p1" / "dicom", "one")
    write_nifti(tmp_path / "p1" / "seg.nii.gz", blocks([41, 42, 43], (5, 24, 20)))
    with pytest.raises(MaskError, match="value 41 does not occur in scheme verse"):
        mask_rows(masks(tmp_path, "verse"))
    with pytest.raises(SourceLayoutError, match="no mask"):
        mask_rows(masks(write_study(tmp_path / "p2", "two"), "verse"))


def segmented(tmp_path: Path, scheme: str, segments: Sequence[Segment]) -> list[LabelRow]:
    """Rows of a DICOM SEG over a small study."""
    folder = write_study(tmp_path / "p1", "one")
    write_segmentation(folder, tmp_path / "seg" / "result.dcm", segments)
    return mask_rows(MaskSource(tmp_path / "p1", tmp_path / "seg", scheme, RULE, KEYS)).rows


def test_a_dicom_segmentation_names_its_study_series_and_levels(tmp_path: Path) -> None:
    rows = segmented(tmp_path, "verse", coded({"L1": 1, "L2": 2, "T12": 3}))
    assert [(row.level, row.mask_value) for row in rows] == [("T12", 3), ("L1", 1), ("L2", 2)]
    assert {row.series_instance_uid for row in rows} == {uid("one", "series")}
    # Of the three blocks drawn from the top down, the first has number 1.
    tops = {row.level: row.superior_mm for row in rows}
    assert tops["L1"] > tops["L2"] > tops["T12"]  # type: ignore[operator]


def named(rows: Sequence[LabelRow]) -> dict[int | None, str | None]:
    return {row.mask_value: row.level for row in rows}


@pytest.mark.parametrize(
    "label", ["L1", "vertebrae_L1", "L1 vertebral body", "Lumbar vertebra L1", "Vertebra-L1"]
)
def test_segments_by_their_labels(tmp_path: Path, label: str) -> None:
    rows = segmented(tmp_path, "verse", [Segment(1, label), Segment(2, "T12")])
    assert named(rows) == {1: "L1", 2: "T12"}


@pytest.mark.parametrize("label", ["disc_L1_L2", "disc_L5_S", "Edema of L1", "rib T12", "cord"])
def test_what_lies_at_a_level_is_not_the_vertebra(tmp_path: Path, label: str) -> None:
    # Number 2 would be C2.
    rows = segmented(tmp_path, "verse", [Segment(1, "L3"), Segment(2, label)])
    assert named(rows) == {1: "L3"}


@pytest.mark.parametrize(
    ("scheme", "numbers"),
    [
        ("verse", {19: "T12", 20: "L1", 25: "L6"}),
        ("verse", {7: "C7", 8: "T1", 26: "S1"}),
        ("verse", {24: "L5", 26: "S1", 27: None}),  # 27: coccyx
        ("totalspineseg", {17: "C7", 21: "T1", 22: "T2"}),
        ("totalspineseg", {32: "T12", 41: "L1", 92: None}),  # 92: disc
        ("totalspineseg", {1: None, 45: "L5", 50: "S1"}),  # 1: cord
        ("totalspineseg_2024", {18: "L5", 41: "C1", 92: "S1"}),
    ],
)
def test_segments_by_their_numbers(
    tmp_path: Path, scheme: str, numbers: dict[int, str | None]
) -> None:
    rows = segmented(tmp_path, scheme, [Segment(number, f"segment {number}") for number in numbers])
    assert named(rows) == {number: level for number, level in numbers.items() if level}


@pytest.mark.parametrize(
    ("scheme", "numbers", "foreign"),
    [
        ("verse", (22, 23, 41), 41),  # of TotalSpineSeg
        ("totalspineseg", (20, 21, 22), 20),  # L1 to L3 of VerSe
        ("totalspineseg", (7, 8), 7),
        ("totalspineseg", (32, 33), 33),
        ("totalspineseg_2024", (41, 42, 43), 42),  # L1 to L3 of later releases
    ],
)
def test_segments_whose_numbers_are_of_another_scheme(
    tmp_path: Path, scheme: str, numbers: tuple[int, ...], foreign: int
) -> None:
    told = f"result.dcm: value {foreign} does not occur in scheme {scheme}"
    with pytest.raises(MaskError, match=told):
        segmented(tmp_path, scheme, [Segment(number, f"segment {number}") for number in numbers])


def test_numbers_are_believed_where_segments_bear_them_out(tmp_path: Path) -> None:
    # The sacrum has no code of a vertebra, and 60 is neither of VerSe nor a vertebra.
    segments = [*coded({"L5": 24}), Segment(26, "sacrum"), Segment(60, "cage")]
    assert named(segmented(tmp_path, "verse", segments)) == {24: "L5", 26: "S1"}


def test_segments_without_a_vertebra(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="no value of the mask is a vertebra"):
        segmented(tmp_path, "totalspineseg", [Segment(1, "cord"), Segment(2, "canal")])


def test_the_values_of_a_segmentation_are_read_whatever_they_mean(tmp_path: Path) -> None:
    study = write_study(tmp_path / "p1", "one")
    path = write_segmentation(study, tmp_path / "seg.dcm", [Segment(41, "a"), Segment(60, "b")])
    labels, affine = read_values(path)
    assert set(np.unique(labels)) == {0, 41, 60}
    assert affine.shape == (4, 4)


def test_the_command_writes_a_checked_manifest_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled(tmp_path, LINE, LINE | {"level": "L3"})
    arguments = ["labelled", str(tmp_path / "studies"), "--table", str(tmp_path / "labels.csv")]
    arguments += ["--out", str(tmp_path / "m.parquet")]
    with pytest.raises(KeyMissingError):
        main(arguments)
    monkeypatch.setenv("ACUITY_PSEUDONYM_KEY", "site key")
    main(arguments)
    main(["check", str(tmp_path / "m.parquet")])
    assert "the manifest is sound" in capsys.readouterr().out
    labelled(tmp_path, LINE, LINE | {"edema": "no"})
    with pytest.raises(ManifestChecksError, match="repeated_row"):
        main([*arguments[:-1], str(tmp_path / "other.parquet")])
    assert not (tmp_path / "other.parquet").exists()


def test_synthetic_studies_say_what_a_perfect_reader_would(tmp_path: Path) -> None:
    samples = Path(__file__).resolve().parents[3] / "data_samples"
    adapted = phantom_rows(samples, RULE)
    rows = {(row.study_path.split("/")[-2], row.level): row for row in adapted.rows}
    for name in ("benign_unhealed", "healed", "pathological_dixon"):
        truth = json.loads((samples / name / "truth.json").read_text())
        for level in truth["levels"]:
            if level["visible"] != "complete":
                assert (name, level["level"]) not in rows
                continue
            row = rows[name, level["level"]]
            if level["level"] == "S1":
                assert (row.edema, row.fracture, row.mask_value) == (None, None, 26)
                continue
            assert row.extent == level["edema_fraction"]
            assert (row.fracture == "present") == (level["acuity"] != "no_fracture")
            assert (row.etiology == "pathological") == (level["etiology"] == "pathological")
    assert {
        row.split for row in adapted.rows if row.patient_key == adapted.rows[0].patient_key
    } == {RULE.of(adapted.rows[0].patient_key)}
    assert check_manifest(write_manifest(tmp_path / "m.parquet", adapted.rows)).errors == ()


@pytest.mark.parametrize(
    ("contrast", "edema", "acuity"),
    [
        (1.1, "indeterminate", "indeterminate"),
        (1.5, "present", "unhealed"),
        (None, "present", "unhealed"),
    ],
)
def test_nobody_is_asked_for_an_edema_that_outshines_nothing(
    tmp_path: Path, contrast: float | None, edema: str, acuity: str
) -> None:
    sample = Path(__file__).resolve().parents[3] / "data_samples" / "pathological_dixon"
    shutil.copytree(sample, tmp_path / "study")
    truth = json.loads((sample / "truth.json").read_text())
    (broken,) = [level for level in truth["levels"] if level["acuity"] == "unhealed"]
    broken["edema_contrast"] = contrast
    (tmp_path / "study" / "truth.json").write_text(json.dumps(truth))
    (row,) = [row for row in phantom_rows(tmp_path, RULE).rows if row.level == broken["level"]]
    assert (row.edema, row.acuity) == (edema, acuity)


def test_a_truth_says_more_or_less_than_a_manifest_asks(tmp_path: Path) -> None:
    """Older studies do not state geometry, kinds of disease or the spine as a whole."""
    sample = Path(__file__).resolve().parents[3] / "data_samples" / "healed"
    truth = json.loads((sample / "truth.json").read_text())
    further = {
        "endplate": "superior", "edema_pattern": "none", "lesion": "none", "lesion_extent": 0.0,
        "schmorl_node": "none", "volume_ml": 31.2, "geometry": None,
    }  # fmt: skip
    rows = []
    for name, spine, stated in (("older", {}, {}), ("newer", {"spine": None}, further)):
        shutil.copytree(sample, tmp_path / name / "study")
        levels = [
            {key: value for key, value in level.items() if key not in further} | stated
            for level in truth["levels"]
        ]
        older = {key: value for key, value in truth.items() if key != "spine"}
        document = older | spine | {"levels": levels}
        (tmp_path / name / "study" / "truth.json").write_text(json.dumps(document))
        found = phantom_rows(tmp_path / name, RULE).rows
        rows.append([row.model_dump(exclude={"study_path", "mask_path"}) for row in found])
    assert rows[0] == rows[1] != []


def test_a_folder_without_synthetic_studies(tmp_path: Path) -> None:
    with pytest.raises(SourceLayoutError, match="no synthetic studies"):
        phantom_rows(tmp_path, RULE)
