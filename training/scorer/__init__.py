"""Makes the scorer's weights: synthetic studies, crops, training, calibration, evaluation."""
