"""Compile loops with Numba, and keep the machine code on disk where there is a folder for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, TypeVar, cast

import numba

from stac_sm.core.scratch import scratch_folder

_log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


def compiled(signature: Any = None, **options: Any) -> Callable[[F], F]:
    """Return a decorator that compiles a function without the GIL, for this process and the next ones.

    Numba keeps machine code beside the source, in the user's cache, or in ``NUMBA_CACHE_DIR``. Where none of them can
    be written (a package installed by somebody else and a home that is read-only, or over its quota), Numba refuses to
    compile at all; here the code is kept in this user's folder for temporary files then, and where that fails too, each
    process compiles for itself: it takes seconds and changes no value.

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
        for keep in (_as_numba_does, _with_temporary_files, _not_at_all):
            try:
                return cast(F, numba.njit(signature, cache=keep(), nogil=True, **options)(function))
            except (RuntimeError, OSError, EOFError, UnpicklingError) as error:  # RuntimeError: no folder to write to
                reason = error
        raise reason

    return decorate


def _as_numba_does() -> bool:
    return True


def _with_temporary_files() -> bool:
    settings: Any = numba.config
    settings.CACHE_DIR = str(scratch_folder("numba"))
    return True


def _not_at_all() -> bool:
    _log.info("each process compiles its loops: machine code cannot be kept; set NUMBA_CACHE_DIR to a folder for it")
    return False
