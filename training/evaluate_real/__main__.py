"""Print how the networks do on real scans, per kind of sequence: `make evaluate-real`.

The scans are for looking and measuring only; nothing is trained on them. Every series that has a
truth mask is taken as the reference in turn, through the ingest and the networks that serve.

    python -m training.evaluate_real [--studies DIR] [--json OUT] [--overlays DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from training.evaluate_real.bodies import summarise, table
from training.evaluate_real.edema import edema_table, summarise_edema
from training.evaluate_real.inserted import inserted_table, summarise_inserted
from training.evaluate_real.networks import open_localiser, open_scorer
from training.evaluate_real.run import evaluate
from training.evaluate_real.studies import GROUPS


def main() -> int:
    """Evaluate on real scans."""
    usual = Path(os.environ.get("ACUITY_REAL_DATA", "../shared")) / "real_studies"
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--studies", type=Path, default=usual)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--overlays", type=Path, help="draw every series into this folder")
    parser.add_argument("--bundle-dir", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="a training checkpoint instead")
    given = parser.parse_args()
    if not any(given.studies.glob("*/truth.json")):
        sys.stderr.write("no real studies here; set ACUITY_REAL_DATA to the folder that has them\n")
        return 2
    localiser = open_localiser(given.bundle_dir, given.checkpoint)
    scorer = open_scorer(given.bundle_dir)
    results = list(evaluate(given.studies, localiser, given.overlays, scorer))
    figures = {g: summarise([r for r in results if r.group == g]) for g in GROUPS}
    figures["all"] = summarise(results)
    sys.stdout.write(table({g: row for g, row in figures.items() if row["series"]}) + "\n")
    findings = summarise_edema([reading for result in results for reading in result.edema])
    sys.stdout.write("\n" + edema_table(findings) + "\n")
    inserted = summarise_inserted([one for result in results for one in result.inserted])
    if inserted["curve"]:
        sys.stdout.write("\n" + inserted_table(inserted) + "\n")
    if given.json:
        content = {
            "groups": figures,
            "findings": findings,
            "inserted_edema": inserted,
            "series": [asdict(result) for result in results],
        }
        given.json.write_text(json.dumps(content, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
