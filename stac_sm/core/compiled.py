"""Compile loops with Numba, and keep the machine code on disk where there is a folder for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, TypeVar, cast

from numba import njit

_log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


def compiled(signature: Any = None, **options: Any) -> Callable[[F], F]:
    """Return a decorator that compiles a function without the GIL, for this process and the next ones.

    Numba keeps machine code beside the source, in the user's cache, or in ``NUMBA_CACHE_DIR``. Where none of them can
    be written (a package installed by somebody else and a home that is read-only, or over its quota), Numba refuses to
    compile at all; here each process compiles for itself then, which takes seconds and changes no value.

    Parameters
    ----------
    signature
        Types for which it is compiled at once, as `numba.njit` takes them; None: at the first call.
    **options
        Other options of `numba.njit`.

    Returns
    -------
    collections.abc.Callable
        The decorator.
    """

    def decorate(function: F) -> F:
        try:
            return cast(F, njit(signature, cache=True, nogil=True, **options)(function))
        except (RuntimeError, OSError, EOFError, UnpicklingError) as error:  # RuntimeError: no folder can be written
            _log.info("each process compiles %s: machine code cannot be kept (%s)", function.__qualname__, error)
            return cast(F, njit(signature, nogil=True, **options)(function))

    return decorate
