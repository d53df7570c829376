"""What docs/planning.md shows works as it is written."""

from __future__ import annotations

import re
from pathlib import Path

from service.planning.plan import plan
from service.planning.profiles import load_profiles
from tests.unit.planning import cases

PAGE = (Path(__file__).parents[3] / "docs" / "planning.md").read_text(encoding="utf-8")


def test_the_profile_of_the_documentation_loads_and_changes_the_plan(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "own.toml").write_text(example, encoding="utf-8")
    profiles = load_profiles(tmp_path)
    assert list(profiles) == ["nice", "ours", "overview", "sir"]
    given = cases.clinical({"age_years": 92, "inr": 1.4, "pregnancy": "yes"})
    fired = {
        name: {
            rule.id for rule in plan(cases.report(), given, profile, now=cases.NOW).patient.fired
        }
        for name, profile in profiles.items()
    }
    assert fired["ours"] == {"OUR-01", "OUR-02", "CLI-05"}
    assert fired["overview"] == {"CLI-10", "CLI-20"}
    document = plan(cases.report(), cases.clinical(), profiles["ours"], now=cases.NOW)
    assert document.levels[0].outcome == "eligible_for_discussion"


def test_pictures_of_the_documentation_are_there() -> None:
    docs = Path(__file__).parents[3] / "docs"
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE):
        assert (docs / name).is_file(), name
