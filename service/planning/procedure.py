"""Load the checklists of the procedure: sentences for every patient, each with its source.

They ask nothing and decide nothing, so they are data beside the rules and not rules themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from service.planning.definitions import Store, define
from service.planning.errors import ProfileError
from service.planning.model import Procedure, ProcedureItem, ProcedureSection, Scope
from service.planning.sentences import placeholders
from service.planning.tables import ProcedureFile, read_table

PROCEDURE: Final = "procedure.toml"
PACKAGED_FILE: Final = Path(__file__).with_name(PROCEDURE)


def load_procedure(store: Store) -> Procedure:
    """Load and check the checklists, the site's own or the shipped ones.

    Raises:
        ProfileError: They do not make sense.
    """
    path = store.find(PROCEDURE) or PACKAGED_FILE
    file, content = read_table(path, ProcedureFile)
    definitions = define(path, file, content, store)
    ids = [item.id for section in file.sections for item in section.items]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ProfileError(path.name, "duplicate_id", f"{twice[0]}: two sentences have this id")
    sections = []
    for section in file.sections:
        items = []
        for item in section.items:
            text = definitions.sentence(item.id, item.sentence, Scope.PATIENT)
            if placeholders(text):
                raise definitions.error("unknown_placeholder", item.id, "nothing is filled in here")
            source = definitions.source(item.id, item.source)
            items.append(ProcedureItem(item.id, text, source, item.where, item.evidence))
        sections.append(ProcedureSection(section.id, section.title, section.kind, tuple(items)))
    return Procedure(file.version, tuple(sections), definitions.sha256)
