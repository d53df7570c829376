"""The scanner: protocols, MR signal, coils, faults, and how a scene becomes an image."""
