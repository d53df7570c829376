"""Scores each vertebra: edema, fracture, acuity, etiology, signs and mimics."""
