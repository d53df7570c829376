"""What a bundle learned from cannot calibrate or judge it, whatever part it is put into."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("sklearn", reason="needs the [train] extra")

from models.manifest import METADATA, seal
from models.registry import Bundle, install, read_bundle, resolve
from tests.unit.datasets.made import row
from tests.unit.judging.made import drawn
from tests.unit.runtime.bundles import content
from training.crossing import PARTS, half_bundle
from training.datasets.manifest import Manifest
from training.datasets.rows import LabelRow, Split
from training.judging import learned
from training.judging.calibrate import answering, site_calibration, with_calibration
from training.judging.errors import JudgingError, SeenCasesError
from training.judging.learned import CALIBRATED_ON, LEARNED_FROM, noted, require_unseen
from training.judging.reading import Model

pytestmark = pytest.mark.train

SALT = "0123456789abcdef" * 4


def patient(number: int, split: str = "train", **changes: object) -> LabelRow:
    own: dict[str, object] = {
        "patient_key": f"patient-{number}",
        "split": split,
        "study_instance_uid": f"1.2.{number}",
        "pixel_sha256": hashlib.sha256(str(number).encode()).hexdigest(),
    }
    return row(**own | changes)


def manifest(*rows: LabelRow) -> Manifest:
    return Manifest(rows, Path())


def bundle(trained: Mapping[str, Any], version: str = "1.1.0") -> Bundle:
    metadata = {"vertebral_acuity": {"trained": dict(trained)}}
    found = SimpleNamespace(name="scorer", version=version, metadata=metadata, sha256="c" * 64)
    return cast("Bundle", found)


TAUGHT = [patient(1), patient(2), patient(3)]
CANDIDATE = bundle({"learned_parts": ["train"], LEARNED_FROM: [noted(TAUGHT, SALT)]})


def test_a_patient_who_is_put_into_another_part_was_still_learned_from() -> None:
    require_unseen(CANDIDATE, manifest(patient(4, "test"), patient(5, "test")))
    with pytest.raises(SeenCasesError, match="learned from 2 of these patients") as caught:
        require_unseen(CANDIDATE, manifest(*(patient(n, "test") for n in (1, 3, 4))))
    assert caught.value.code == "cases_learned_from"


@pytest.mark.parametrize(
    "known",
    [
        {"study_instance_uid": "1.2.2"},
        {"pixel_sha256": TAUGHT[1].pixel_sha256},
        {"patient_key": "patient-2"},
    ],
    ids=["study", "pictures", "patient"],
)
def test_it_is_known_by_patient_by_study_and_by_pictures(known: dict[str, object]) -> None:
    with pytest.raises(SeenCasesError, match="1 of these"):
        require_unseen(CANDIDATE, manifest(patient(9, "test", **known), patient(8, "test")))


def test_others_in_a_part_of_the_same_name_were_not_learned_from() -> None:
    require_unseen(CANDIDATE, manifest(patient(7, "train")))


def test_a_bundle_without_digests_goes_by_its_parts() -> None:
    older = bundle({"learned_parts": ["train"]})
    require_unseen(older, manifest(patient(1, "test")))
    with pytest.raises(SeenCasesError, match="learned from the part train"):
        require_unseen(older, manifest(patient(7, "train")))
    require_unseen(bundle({}), manifest(*TAUGHT))


def test_every_set_of_data_counts_and_calibration_only_where_it_is_asked_for() -> None:
    both = bundle(
        {
            LEARNED_FROM: [noted(TAUGHT[:1], SALT), noted(TAUGHT[1:2], "f" * 64)],
            CALIBRATED_ON: [noted(TAUGHT[2:], SALT)],
        }
    )
    for number in (1, 2):
        with pytest.raises(SeenCasesError):
            require_unseen(both, manifest(patient(number, "test")))
    require_unseen(both, manifest(patient(3, "test")))
    with pytest.raises(SeenCasesError, match="was calibrated on 1 of these"):
        require_unseen(both, manifest(patient(3, "test")), by_calibration=True)


def test_nothing_of_a_patient_stands_in_the_clear_and_little_at_all() -> None:
    many = [patient(number) for number in range(1000)]
    told = noted(many, SALT)
    text = json.dumps(told)
    assert len(text) < 25_000
    raw = base64.b64decode(told["digests"])
    for one in many[:50]:
        for value in (one.patient_key, one.study_instance_uid, one.pixel_sha256):
            assert value not in text
            plain = hashlib.blake2b(value.encode(), digest_size=6).digest()
            assert plain not in {raw[i : i + 6] for i in range(0, len(raw), 6)}
    # Another salt: nothing in common, so that two bundles cannot be laid beside each other.
    other = base64.b64decode(noted(many, "a" * 64)["digests"])
    assert not {raw[i : i + 6] for i in range(0, len(raw), 6)} & {
        other[i : i + 6] for i in range(0, len(other), 6)
    }
    assert noted(many[::-1], SALT) == told


def test_more_than_a_bundle_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MOST", 8)
    with pytest.raises(JudgingError, match="9 patients, studies and pictures"):
        noted(TAUGHT, SALT)


def test_what_a_bundle_was_calibrated_on_is_in_it(tmp_path: Path) -> None:
    served = resolve("scorer")
    judged = drawn(patients=60, scale=2.0)
    fitted = site_calibration(judged, served, "60 local studies")
    about = {"version": "9.0.0-site.1", "chosen_on": "60 local studies", "data_sha256": "c" * 64}
    files = with_calibration(served, fitted, judged, about, cases=noted(TAUGHT, SALT))
    found = read_bundle(install(files, tmp_path).path)
    require_unseen(found, manifest(*TAUGHT))
    with pytest.raises(SeenCasesError, match="calibrated on 3"):
        require_unseen(found, manifest(*TAUGHT), by_calibration=True)


def test_a_half_does_not_answer_for_a_patient_who_changed_parts(tmp_path: Path) -> None:
    """In a manifest that was changed since the run."""
    rows = {part: [patient(10 * k + n, part) for n in range(3)] for k, part in enumerate(PARTS)}
    trained = {"data_sha256": "d" * 64, "learned_parts": [str(part) for part in PARTS]}
    for part in PARTS:
        files = dict(content("scorer", half_bundle(tmp_path, "scorer", part).name))
        told = json.loads(files[METADATA])
        own = {"learned_parts": [str(part)], LEARNED_FROM: [noted(rows[part], SALT)]}
        told["vertebral_acuity"]["trained"] = own
        files[METADATA] = seal(told)
        install(files, half_bundle(tmp_path, "scorer", part).parent.parent)
    (tmp_path / "data.json").write_text(json.dumps({"sha256": "d" * 64}))
    every = [*rows[PARTS[0]], *rows[PARTS[1]]]
    whole = bundle(trained | {LEARNED_FROM: [noted(every, SALT)]})
    model = cast("Model", SimpleNamespace(scorer=whole))
    moved = rows[Split.TRAIN][0].model_copy(update={"split": Split.VALIDATION})
    with pytest.raises(SeenCasesError, match=r"0\.0\.0-train learned from 1 of these"):
        answering(manifest(*rows[Split.TRAIN][1:], moved, *rows[Split.VALIDATION]), model, tmp_path)
