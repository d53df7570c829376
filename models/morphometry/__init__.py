"""Geometry of each level for planning: wall, canal, pedicles, volume, angles and target point."""
