"""How each vendor's headers state a sequence, an image and a scanner."""
