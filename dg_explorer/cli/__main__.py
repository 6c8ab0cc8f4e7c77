"""`python -m dg_explorer.cli`."""

import sys

from .commands import main

sys.exit(main())
