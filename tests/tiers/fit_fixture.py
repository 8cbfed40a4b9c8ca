"""What the tests of fit_tier1, fit_tier2 and fit_tier3 share.

    test_fit_tierN.py FIT_TIERN LIBSTRATA_SO CC TIERS_FOLDER
"""

import os
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

try:
    import numpy  # noqa: F401
except ImportError:
    debian = "/usr/bin/python3"  # has numpy with python3-matplotlib
    if os.access(debian, os.X_OK) and os.path.realpath(sys.executable) != os.path.realpath(debian):
        os.execv(debian, [debian, "-B", *sys.argv])
    print("numpy is not installed (Debian: python3-numpy)")
    sys.exit(77)

SCRIPT, LIBRARY, CC, TIERS = sys.argv[1:5]


def load():
    """The script as a module."""
    loader = SourceFileLoader("fit", SCRIPT)
    module = module_from_spec(spec_from_loader("fit", loader))
    loader.exec_module(module)
    return module
