"""The planning document's schema is public: it does not change unless its version does.

After a deliberate addition, write the snapshot anew with
`python -m tests.contract.test_planning_schema`.
"""

import json
from pathlib import Path

from service.planning.document import PLANNING_SCHEMA, PlanningDocument

SNAPSHOT = Path(__file__).with_name("planning_1.schema.json")


def schema() -> str:
    return json.dumps(PlanningDocument.model_json_schema(), indent=1, sort_keys=True) + "\n"


def test_the_schema_is_as_published() -> None:
    assert schema() == SNAPSHOT.read_text()


def test_the_version_is_in_the_file_s_name() -> None:
    assert SNAPSHOT.name == f"{PLANNING_SCHEMA.replace('/', '_')}.schema.json"


if __name__ == "__main__":
    SNAPSHOT.write_text(schema())
