from io import StringIO

from rich.console import Console

from service.report.document import StudyReport
from service.report.headline import percent, words
from service.report.terminal import print_report
from tests.unit.report import made


def printed(report: StudyReport, *, terminal: bool = False) -> str:
    stream = StringIO()
    system = "truecolor" if terminal else "auto"
    console = Console(file=stream, width=100, force_terminal=terminal or None, color_system=system)
    print_report(report, console)
    return stream.getvalue()


def row(text: str, level: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(level))
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_table_tells_every_level() -> None:
    text = printed(made.result().report)
    assert row(text, "T12 ") == ["T12", "90%", "no 3%", "-", "no 4%", "2%", "no fracture", "-", "-"]
    assert row(text, "L1* ")[2:] == [
        "yes 93%", "46%", "yes 95% wedge", "23%", "unhealed", "benign", "6%",
    ]  # fmt: skip
    assert "* L2: or L3 7%, unlike training" in text
    assert "* L1: gradient echo water image" in text


def test_table_fits_100_columns() -> None:
    assert max(len(line) for line in printed(made.result().report).splitlines()) <= 100


def test_plain_when_it_is_no_terminal() -> None:
    report = made.result().report
    assert "\x1b" not in printed(report)
    assert "\x1b" in printed(report, terminal=True)


def test_markup_of_a_terminal_in_names_stays_text() -> None:
    report = made.result().report
    item = report.files.refused[0].model_copy(update={"file": "[red]x[/red].dcm"})
    files = report.files.model_copy(update={"refused": (item,)})
    assert "[red]x[/red].dcm" in printed(report.model_copy(update={"files": files}))


def test_used_refused_and_withheld_are_told() -> None:
    text = printed(made.result().report)
    assert "used      STIR, 9 slices" in text
    assert "17 used, 1 refused: 1 not dicom" in text
    assert "withheld  features: No T2 series." in text
    assert "numbered  from the sacrum upward" in text


def test_unusable_study_says_why() -> None:
    text = printed(made.unusable_result().report)
    assert "withheld  study: No sagittal spine MR series of this study could be used." in text


def test_small_probabilities_are_not_rounded_to_never() -> None:
    assert [percent(value) for value in (0.0, 0.001, 0.05, 0.999, 1.0)] == [
        "0%", "<1%", "5%", ">99%", "100%",
    ]  # fmt: skip


def test_codes_are_said_in_words() -> None:
    assert words("t1_missing") == "T1 missing"
