"""``python -m stac_sm`` is ``stac-sm``."""

from stac_sm.cli import main

if __name__ == "__main__":
    main()
