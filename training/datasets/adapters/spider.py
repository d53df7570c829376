"""SPIDER: sagittal lumbar MR with masks of vertebrae and discs, and gradings of each disc.

Layout as published (van der Graaf et al. 2024, Sci Data 11:264; doi.org/10.5281/zenodo.10159290):

    images/<patient>_<t1|t2|t2_SPACE>.mha     masks/<the same name>
    overview.csv                              new_file_name, subset (training, validation), sex, ...
    radiological_gradings.csv                 Patient, IVD label, Modic, UP endplate, ...

Vertebrae are counted upward from the lowest, 1; disc n lies below vertebra n. Discs were graded,
bodies were not: what is said of a body here is inferred from the discs above and below it, stands
in `weak_labels`, and the gradings themselves are kept in `source_labels`.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.logs import Pseudonyms
from training.datasets.adapted import Adapted
from training.datasets.adapters.masks import image_columns
from training.datasets.digests import file_digest
from training.datasets.errors import LabelTableError, SourceLayoutError
from training.datasets.mask_images import bodies_of, image_stem, read_image, read_mask
from training.datasets.rows import LabelRow, Split
from training.datasets.split import SplitRule

GRADINGS: Final = "radiological_gradings.csv"
OVERVIEW: Final = "overview.csv"
COLUMNS: Final = (
    "Modic", "UP endplate", "LOW endplate", "Spondylolisthesis", "Disc herniation",
    "Disc narrowing", "Disc bulging", "Pfirrman grade",
)  # fmt: skip
"""Gradings of a disc, spelled as in the file."""

MODIC_1: Final = 1

Grading = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SpiderSource:
    """Where SPIDER lies.

    Attributes:
        root: Its folder.
        rule: Splits the published training patients into ours; the published validation patients
            are our test set.
        keys: Hides the patients' numbers.
    """

    root: Path
    rule: SplitRule
    keys: Pseudonyms


def spider_rows(source: SpiderSource) -> Adapted:
    """Rows of every vertebra of every mask.

    Raises:
        SourceLayoutError: Images, masks or one of the tables are not there.
        LabelTableError: A table lacks a column or holds a value that is no number.
        MaskError: A mask cannot be read.
    """
    images, masks = source.root / "images", source.root / "masks"
    if not images.is_dir() or not masks.is_dir():
        raise SourceLayoutError("SPIDER has the folders images and masks")
    gradings, overview = _gradings(source.root / GRADINGS), _overview(source.root / OVERVIEW)
    adapted = Adapted()
    for path in sorted(images.iterdir()):
        stem = image_stem(path)
        if stem is None:
            continue
        mask = masks / path.name
        if not mask.is_file():
            adapted.skip(path.name, "mask_missing")
            continue
        patient = stem.split("_")[0]
        facts = overview.get(stem, {})
        adapted.rows.extend(_rows(path, mask, gradings.get(patient, {}), facts, source))
    if not adapted.rows:
        raise SourceLayoutError("SPIDER's folder holds no image with a mask")
    return adapted


def _rows(
    image: Path,
    mask: Path,
    discs: Mapping[int, Grading],
    facts: Mapping[str, str],
    source: SpiderSource,
) -> list[LabelRow]:
    array, _ = read_image(image)
    key = source.keys.of(str(image_stem(image)).split("_")[0])
    sex = facts.get("sex", "").strip().upper()
    held_out = facts.get("subset", "").strip() == "validation"
    common = image_columns(image, array) | {
        "source": "spider",
        "patient_key": key,
        "split": Split.TEST if held_out else source.rule.of(key),
        "reader": "spider",
        "mask_path": str(mask.resolve()),
        "mask_sha256": file_digest(mask),
        "sex": sex if sex in ("F", "M") else None,
    }
    rows = []
    for position, body in enumerate(bodies_of(read_mask(mask, "spider")), start=1):
        left, posterior, superior = body.centre_lps_mm
        place = {
            "level": body.level,
            "position": position,
            "mask_value": body.value,
            "left_mm": left,
            "posterior_mm": posterior,
            "superior_mm": superior,
        }
        rows.append(LabelRow.model_validate(common | place | _inferred(body.value, discs)))
    return rows


def _inferred(vertebra: int, discs: Mapping[int, Grading]) -> dict[str, Any]:
    """What the gradings of the discs beside a vertebra say of it, and the gradings themselves."""
    beside = {"below": discs.get(vertebra), "above": discs.get(vertebra + 1)}
    known = {name: grading for name, grading in beside.items() if grading is not None}
    weak: dict[str, bool] = {}
    if any(grading["Modic"] == MODIC_1 for grading in known.values()):
        weak["mimic_modic_1"] = True
    elif len(known) == len(beside):
        weak["mimic_modic_1"] = False
    # The upper endplate of a disc space is the lower one of the vertebra above it.
    facing = {"below": "UP endplate", "above": "LOW endplate"}
    defects = [grading[facing[name]] > 0 for name, grading in known.items()]
    if any(defects):
        weak["mimic_schmorl_node"] = True
    elif len(defects) == len(beside):
        weak["mimic_schmorl_node"] = False
    told = {f"disc_{name}": dict(grading) for name, grading in known.items()}
    return weak | {
        # The number of lumbar bodies was not told: the lowest is called L5 whatever the spine has.
        "weak_labels": ";".join(("level", *weak)),
        "source_labels": json.dumps(told, sort_keys=True) if told else "",
    }


def _gradings(path: Path) -> dict[str, dict[int, Grading]]:
    found: dict[str, dict[int, Grading]] = defaultdict(dict)
    for number, line in enumerate(_table(path, ("Patient", "IVD label", *COLUMNS)), start=2):
        try:
            grading = {name: int(float(line[name] or 0)) for name in COLUMNS}
            patient, disc = str(int(float(line["Patient"]))), int(float(line["IVD label"]))
        except ValueError as error:
            raise LabelTableError(f"{path.name}, line {number}: not a number") from error
        # A few published lines name disc 0, which no mask has.
        if disc >= 1:
            found[patient][disc] = grading
    return found


def _overview(path: Path) -> dict[str, Mapping[str, str]]:
    lines = _table(path, ("new_file_name", "subset"))
    return {str(line["new_file_name"]).removesuffix(".mha"): line for line in lines}


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        raise SourceLayoutError(f"SPIDER has {path.name}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in columns if name not in reader.fieldnames]
        if missing:
            raise LabelTableError(f"{path.name}: columns missing: {', '.join(missing)}")
        return [{name: (value or "").strip() for name, value in line.items()} for line in reader]
