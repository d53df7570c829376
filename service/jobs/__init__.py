"""Studies handed in, the work on them, and where their results lie.

The rest of the service knows jobs only through the `Jobs` protocol of `service.jobs.job`. Here they
live in one process with one bounded inference worker; a durable queue takes the same seam.
"""
