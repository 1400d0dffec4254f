"""The errors of stac_sm, drawn once.

::

    StacSmError                what a user can act on; the command line prints it and exits with 1
    ├── InputError             an argument, a file or a table is not what it should be
    │   ├── ProjectError       stac-sm.toml is missing, or a field of it is wrong
    │   └── GranuleError       one provider file could not be ingested
    ├── CatalogError           an item or a collection is missing, or contradicts itself
    ├── ReadError              pixels could not be read: never to be taken for nodata
    ├── ModelError             a model is changed, incomplete or does not fit its features
    ├── ScreeningError         too few stations are left to train on
    ├── RunError               a run cannot go on: its scheduler is lost, or it was interrupted
    └── ConflictError          somebody else has published another version of the same item
"""


class StacSmError(Exception):
    """Base of every error that a user can act on.

    A message names the thing, what was found, what was wanted and what to do.
    """


class InputError(StacSmError):
    """An argument, a file or a table is not what it should be."""


class ProjectError(InputError):
    """The project file is missing, or a field of it is wrong."""


class GranuleError(InputError):
    """One provider file could not be ingested."""


class CatalogError(StacSmError):
    """An item or a collection is missing, or contradicts itself."""


class ReadError(StacSmError):
    """Pixels could not be read; a failed read is never nodata."""


class ModelError(StacSmError):
    """A model is changed, incomplete or does not fit its features."""


class ScreeningError(StacSmError):
    """Too few stations are left to train on."""


class RunError(StacSmError):
    """A run cannot go on; what it has published is done."""


class ConflictError(StacSmError):
    """Somebody else has published another version of the same item."""
