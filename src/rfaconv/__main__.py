"""``python -m rfaconv``: the command."""

import sys

from rfaconv.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
