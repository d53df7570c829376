from __future__ import annotations

import pytest

from service.ingest.series_text import Word, words_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("t2_tirm_sag_p2 ", {Word.STIR, Word.T2}),
        ("SAG T2 STIR", {Word.STIR, Word.T2}),
        ("FST2_SAGc", {Word.FAT_SATURATION, Word.T2}),
        ("T1 TSE sag +C", {Word.T1, Word.POST_CONTRAST}),
        ("T1 sag post Gd", {Word.T1, Word.POST_CONTRAST}),
        ("t1_tse_sag ohne KM", {Word.T1}),
        ("01 Scano GE ST", {Word.LOCALIZER}),
        ("t2_tse_dixon_sag_320_W", {Word.T2, Word.DIXON, Word.WATER}),
        ("WFST2_SAG(W/F)", {Word.T2, Word.DIXON}),
        ("posterior spine", set()),
        ("Sag T2 FSE", {Word.T2}),
        ("T1 FSE respiratory", {Word.T1}),
        ("T2FS sag", {Word.T2, Word.FAT_SATURATION}),
        ("T2W SPIR", {Word.T2, Word.FAT_SATURATION}),
        ("location test", set()),
        ("????", set()),
        ("", set()),
    ],
)
def test_words(name: str, expected: set[Word]) -> None:
    assert words_of(name) == expected


def test_words_of_several_names_are_joined() -> None:
    assert words_of("sag 4", "t2_tirm") == {Word.STIR, Word.T2}
