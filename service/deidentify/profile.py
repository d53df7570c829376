"""The Basic Application Level Confidentiality Profile (PS3.15 E.2) on one dataset.

The table of attributes (PS3.15 E.1-1) and what is done to plain values come from dicom-anonymizer.
That library treats the top level only and draws new UIDs anew in every process, so here

- every item of every sequence that stays is treated like the dataset itself,
- UIDs are derived, also where the table does not list them,
- sequences and dates go or are emptied where the table leaves the choice, and
- what neither the table nor the dictionary knows is removed, and so are free texts and names that
  the table does not list.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR, repeater_has_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from service.deidentify.identities import Identities

EDITION: Final = "dicomfields_2026c"
"""The newest edition of the table that the library has."""

BASIC_PROFILE: Final = ("113100", "DCM", "Basic Application Confidentiality Profile")
METHOD: Final = "vertebral-acuity: PS3.15 Basic Profile"

_FREE_TEXTS: Final = frozenset({"AE", "LT", "PN", "ST", "UN", "UT"})
_FRAME_LABEL: Final = 0x00209453
"""Of the implementation's choice (PS3.3 C.7.6.16.2.2), and not in the table."""

_DATES: Final = frozenset({"DA", "DT", "TM"})
_REPEATING: Final = (0x5000, 0x6000)
"""Curves and overlays: the table lists their groups as a whole."""

_Tag = tuple[int, int]
_Action = Callable[[Dataset, _Tag], None]


class Profile:
    """Takes identity out of datasets, all under one key.

    Args:
        identities: Where new identifiers come from.
    """

    def __init__(self, identities: Identities) -> None:
        self.identities = identities

    def apply(self, dataset: Dataset) -> None:
        """De-identify a dataset in place and say so in it (PS3.15 E.1.1).

        File meta information is not touched: write it anew.
        """
        patient = str(dataset.get("PatientID") or "")
        self._clean(dataset)
        dataset.PatientID = self.identities.patient(patient)
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = METHOD
        dataset.DeidentificationMethodCodeSequence = Sequence([_code(*BASIC_PROFILE)])
        dataset.LongitudinalTemporalInformationModified = "REMOVED"

    def _clean(self, dataset: Dataset) -> None:
        from dicomanonymizer import anonymize_dataset  # noqa: PLC0415

        rules = _rules()
        there = map(_pair, dataset.keys())
        own = {pair: rules[pair] for pair in there if pair in rules}
        anonymize_dataset(dataset, base_rules_gen=lambda: own)
        for tag in list(dataset.keys()):
            if _is_unknown(tag):
                del dataset[tag]
                continue
            element = dataset[tag]
            if tag == _FRAME_LABEL or (element.VR in _FREE_TEXTS and _pair(tag) not in rules):
                del dataset[tag]
            elif element.VR == "SQ":
                for item in element.value or ():
                    self._clean(item)
            elif element.VR == "UI" and element.value:
                element.value = self._new_uids(element.value)

    def _new_uids(self, value: Any) -> str | list[str]:  # noqa: ANN401  one UID or many
        if isinstance(value, str):
            return self.identities.uid(value)
        return [self.identities.uid(str(each)) for each in value]


def _pair(tag: BaseTag) -> tuple[int, int]:
    return tag.group, tag.element


def _is_unknown(tag: BaseTag) -> bool:
    """Whether nobody could say what an element holds; also of curves and overlays."""
    if any(group <= tag.group <= group + 0xFF for group in _REPEATING):
        return True
    return not dictionary_has_tag(tag) and not repeater_has_tag(tag)


@lru_cache(maxsize=1)
def _rules() -> dict[_Tag, _Action]:
    """What is done to each attribute that the table lists, repeating groups apart."""
    from dicomanonymizer.dicomfields_selector import (  # noqa: PLC0415
        dicom_anonymization_database_selector,
    )

    table = dicom_anonymization_database_selector(EDITION)
    return {
        (tag[0], tag[1]): _action(category, (tag[0], tag[1]))
        for category in table
        if category != "ALL_TAGS"
        for tag in table[category]
        if len(tag) == 2
    }


def _action(category: str, tag: _Tag) -> _Action:
    """The action for an attribute of a category, named as in the library: X_Z_TAGS is X/Z."""
    from dicomanonymizer import simpledicomanonymizer as plain  # noqa: PLC0415

    known = dictionary_has_tag((tag[0] << 16) + tag[1])
    vr = dictionary_VR((tag[0] << 16) + tag[1]) if known else ""
    allowed = category.removesuffix("_TAGS").split("_")
    if vr == "UI" and category != "X_TAGS":
        return _keep  # every UID that stays is derived anew
    if "STAR" in allowed:
        return _keep  # a sequence of references: the UIDs in its items are derived anew
    if vr in _DATES or vr == "SQ":
        if "Z" in allowed:
            return _empty
        if "X" in allowed:
            return _remove
    if category == "X_TAGS":
        return _remove
    return _guarded(plain.empty if "Z" in allowed and "D" not in allowed else plain.replace)


def _keep(_dataset: Dataset, _tag: _Tag) -> None:
    pass


def _remove(dataset: Dataset, tag: _Tag) -> None:
    if tag in dataset:
        del dataset[tag]


def _empty(dataset: Dataset, tag: _Tag) -> None:
    if tag in dataset:
        element = dataset[tag]
        element.value = [] if element.VR == "SQ" else None


def _guarded(action: _Action) -> _Action:
    def act(dataset: Dataset, tag: _Tag) -> None:
        try:
            action(dataset, tag)
        # Whatever a value is that it cannot be replaced, it must not stay.
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            _remove(dataset, tag)

    return act


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item
