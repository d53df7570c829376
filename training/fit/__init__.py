"""One loop that trains any of the product's networks, from a recipe in TOML into a run folder."""
