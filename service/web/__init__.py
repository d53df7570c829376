"""The page at `/`: studies handed in, their state, and a way to hand in another."""
