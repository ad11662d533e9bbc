"""`python -m certeasy`: the same as `certeasy`."""

from certeasy.cli import main

main()
