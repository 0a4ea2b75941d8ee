"""`python -m mapdev.vm` is `mapdev vm`."""

import sys

from mapdev.vm.command import main

if __name__ == "__main__":
    sys.exit(main())
