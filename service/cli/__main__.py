"""`python -m service.cli`: the same as `acuity`."""

from service.cli import main

main()
