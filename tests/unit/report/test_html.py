import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from models.findings import Abstention
from service.report.assemble import assemble
from service.report.headline import TONE_COLOURS
from service.report.html import content_security_policy, to_html
from service.report.markup import VOID, Markup, element, join
from service.report.result import StudyResult
from tests.unit.report import made


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag was closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page() -> str:
    return to_html(made.result())


def test_elements_are_closed_in_order(page: str) -> None:
    assert Page(page).open == []


def test_nothing_is_requested_from_outside(page: str) -> None:
    for tag, attributes in Page(page).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img", "base"}
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"https?:|ftp:|file:", page)
    assert "@import" not in page
    assert "url(" not in page


def test_policy_forbids_requests_scripts_and_foreign_styles(page: str) -> None:
    policy = content_security_policy()
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert Page(page).named("meta")[1]["content"] == policy
    # The policy's hash covers the one style element; style attributes would be blocked.
    assert all("style" not in attributes for _, attributes in Page(page).tags)
    assert not any(
        name.startswith("on") for _, attributes in Page(page).tags for name in attributes
    )


def test_text_of_the_study_never_becomes_markup(page: str) -> None:
    assert "<script" not in page
    assert "<img" not in page
    text = Page(page).text
    assert "<script>alert(1)</script>" in text
    assert "a<img src=//x.example/>.txt" in text


def test_statement_and_status_stand_on_top(page: str) -> None:
    text = Page(page).text
    assert text.index("preliminary") < text.index("Mid-sagittal")
    assert "not a medical device" in text
    assert "1.2.3" in text


def test_every_level_has_a_card_that_pictures_and_table_link_to(page: str) -> None:
    parsed = Page(page)
    cards = {attributes["id"] for attributes in parsed.named("article")}
    links = {attributes["href"] for attributes in parsed.named("a")}
    assert cards == {"level-19", "level-20", "level-21"}
    assert links == {f"#{card}" for card in cards}


def test_cards_tell_the_findings(page: str) -> None:
    text = Page(page).text
    for words in (
        "Unhealed fracture",
        "Pathological features",
        "46% of the body (under half)",
        "limited by gradient echo water image",
        "wedge",
        "height loss 23%",
        "cannot tell benign from pathological",
        "height 20.0 / 19.0 / 25.0 mm",
        "modic 1",
        "or L3 7%",
        "unlike those the networks were trained on",
    ):
        assert words in text


def test_what_was_used_refused_and_withheld_is_told(page: str) -> None:
    text = Page(page).text
    for words in (
        "inversion_time_ms=160",
        "1.2.3.1",
        "Not DICOM.",
        "No T2 series.",
        "scorer 1.0.0",
    ):
        assert words in text


def test_pictures_are_inside_and_heat_can_be_switched_off(page: str) -> None:
    parsed = Page(page)
    images = parsed.named("image")
    heat = [attributes for attributes in images if attributes.get("class") == "heat"]
    assert len(images) > len(heat) > 0
    assert len(heat) < len(images) / 2  # none on another series
    assert {attributes["id"] for attributes in parsed.named("input")} == {"show-marks", "show-heat"}


def test_same_study_same_page() -> None:
    assert to_html(made.result()) == to_html(made.result())


def abstaining_studies() -> dict[str, StudyResult]:
    study = made.result()
    assert study.localisation is not None
    bodiless = replace(study.localisation, vertebrae=(), labels=study.localisation.labels * 0)
    report = assemble(study.ingested, bodiless, None, made.provenance())
    return {
        "nothing usable": made.unusable_result(
            Abstention("no_sagittal_series", "study", "There is no sagittal series.")
        ),
        "no fluid-sensitive series": made.without_edema(study),
        "no names": made.result((None, None, None)),
        "no bodies": StudyResult(report, study.ingested, bodiless, None),
    }


@pytest.mark.parametrize(
    "case", ["nothing usable", "no fluid-sensitive series", "no names", "no bodies"]
)
def test_page_of_a_study_that_was_abstained_from(case: str) -> None:
    study = abstaining_studies()[case]
    parsed = Page(to_html(study))
    assert parsed.open == []
    for abstention in study.report.abstentions:
        assert abstention.reason in parsed.text
        assert abstention.code in parsed.text


def test_missing_answers_are_said_to_be_missing() -> None:
    text = Page(to_html(made.without_edema(made.result()))).text
    assert "not said" in text


def test_unnamed_bodies_are_called_by_their_value() -> None:
    text = Page(to_html(made.result((None, None, None)))).text
    assert "Body 101" in text


def test_style_sheet_and_key_images_share_their_colours(page: str) -> None:
    for tone, (red, green, blue) in TONE_COLOURS.items():
        assert f"--{tone}: #{red:02x}{green:02x}{blue:02x}" in page


def test_element_escapes_text_and_attributes() -> None:
    written = element("p", "<b>&\"'", Markup("<i>x</i>"), None, 3, title='"><x')
    assert written == '<p title="&quot;&gt;&lt;x">&lt;b&gt;&amp;&quot;&#x27;<i>x</i>3</p>'
    assert join("<", element("br")) == "&lt;<br>"
