"""Figures of merit and their uncertainty: curves, probabilities, counts, patients drawn anew."""
