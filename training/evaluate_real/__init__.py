"""How the networks do on real scans; `python -m training.evaluate_real` prints it."""

from training.evaluate_real.bodies import Result, summarise, table
from training.evaluate_real.edema import EdemaReading, edema_table, read_edema, summarise_edema
from training.evaluate_real.networks import open_localiser, open_scorer
from training.evaluate_real.run import evaluate
from training.evaluate_real.studies import GROUPS, Truth, mask_on, read_volumes, truths_of

__all__ = [
    "GROUPS",
    "EdemaReading",
    "Result",
    "Truth",
    "edema_table",
    "evaluate",
    "mask_on",
    "open_localiser",
    "open_scorer",
    "read_edema",
    "read_volumes",
    "summarise",
    "summarise_edema",
    "table",
    "truths_of",
]
