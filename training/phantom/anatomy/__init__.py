"""The bones, discs, canal and soft tissue of one spine: sampled as numbers, painted as shapes."""
