"""An inference worker without networks: real protocol, real writers, a study of a few lines.

Run as `python -m tests.integration.jobs.reader SECONDS`: each reading takes so long. A study is
files whose first line is its Study Instance UID.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from service import pipeline
from service.ingest.records import Ingested
from service.jobs import worker
from service.pipeline import Stages
from tests.stages_made import STAGES, read


def _read(source: Path) -> Ingested:
    time.sleep(float(sys.argv[1]))
    first = min(path for path in source.iterdir() if path.is_file())
    uid = first.read_text().splitlines()[0]
    return replace(read(source), study_instance_uid=uid)


def _open(_settings: object) -> Stages:
    return replace(STAGES, read=_read)


if __name__ == "__main__":
    # Also for the worker's later looks at which models serve.
    pipeline.open_stages = _open
    worker.main()
