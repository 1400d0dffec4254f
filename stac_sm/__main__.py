"""``python -m stac_sm`` is ``stac-sm``."""

from stac_sm.cli.main import main

if __name__ == "__main__":
    main()
