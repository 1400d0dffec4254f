"""The tree of errors."""

from __future__ import annotations

import inspect
import re

from stac_sm.core import errors


def test_every_error_is_drawn_below_its_base():
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    drawn = dict(re.findall(r"\n    ([│ ├└─]*)(\w+Error) ", errors.__doc__)[i][::-1] for i in range(len(classes)))
    assert set(drawn) == set(classes)
    for name, branch in drawn.items():
        assert len(classes[name].__mro__) - len(errors.StacSmError.__mro__) == len(branch) // 4
        assert issubclass(classes[name], errors.StacSmError)
