"""`python -m lab`: the same commands as `make`."""

import sys

if __name__ == "__main__":
    try:
        from lab.cli import main
    except ModuleNotFoundError as error:
        sys.exit(
            f"lab: {error}; this Python ({sys.executable}) is not the one of .venv that `make setup` makes"
        )
    main()
