"""Labelled studies: one manifest format, adapters that write it, checks that must pass first."""
