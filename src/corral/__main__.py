"""Lets `python -m corral` be the command `corral`, for those who start it from a given interpreter."""

from corral.cli.main import main

if __name__ == "__main__":
    main()
