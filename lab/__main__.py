"""`python -m lab`: the same commands as `make`."""

from lab.cli import main

if __name__ == "__main__":
    main()
