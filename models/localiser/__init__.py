"""Finds vertebral bodies, outlines them and names them, or says why not."""
