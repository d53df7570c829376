"""How good a model is: statistics, evaluation, calibration, comparison and the gates before use."""
