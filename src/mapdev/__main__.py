"""`python -m mapdev` is `mapdev`."""

import sys

from mapdev.cli import main

if __name__ == "__main__":
    sys.exit(main())
