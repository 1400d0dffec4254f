"""All exception classes of the package.

::

    StacSmError                what a user can act on; the command line prints it and exits with 1
    ├── InputError             an argument, a file or a table is not as required
    │   ├── ProjectError       stac-sm.toml is missing, or a field of it is wrong
    │   └── GranuleError       one provider file could not be ingested
    ├── CatalogError           an item or a collection is missing, or contradicts itself
    ├── ReadError              pixels could not be read: never treated as nodata
    ├── ModelError             a model is changed, incomplete or does not fit its features
    ├── ScreeningError         too few stations are left to train on
    ├── RunError               a run cannot go on: its scheduler is lost, or it was interrupted
    └── ConflictError          another writer has published another version of the same item

Any other exception is a defect of the program, and the command line shows its traceback.
"""

import traceback


def raised_by(error: BaseException, *packages: str) -> bool:
    """Return whether code of some packages, or what it called, raised an error.

    A context manager that names the file in the errors of a library passes on those of the code inside: a file is
    not damaged because a program divides by zero.

    Parameters
    ----------
    error
        As it was caught, with its traceback.
    *packages
        Names as they are imported, such as ``netCDF4``.

    Returns
    -------
    bool
        Whether a frame of the traceback is in one of them.
    """
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    names = (frame.f_globals.get("__name__") or frame.f_code.co_name for frame in frames)  # compiled: the name alone
    return any(str(name).partition(".")[0] in packages for name in names)


class StacSmError(Exception):
    """Base of every error that a user can act on.

    A message names the thing, what was found, what is required and what to do.
    """


class InputError(StacSmError):
    """An argument, a file or a table is not as required."""


class ProjectError(InputError):
    """The project file is missing, or a field of it is wrong."""


class GranuleError(InputError):
    """One provider file could not be ingested."""


class CatalogError(StacSmError):
    """An item or a collection is missing, or contradicts itself."""


class ReadError(StacSmError):
    """Pixels could not be read; a failed read is never treated as nodata."""


class ModelError(StacSmError):
    """A model is changed, incomplete or does not fit its features."""


class ScreeningError(StacSmError):
    """Too few stations are left to train on."""


class RunError(StacSmError):
    """A run cannot go on; the items that it has published stay valid."""


class ConflictError(StacSmError):
    """Another writer has published another version of the same item."""
