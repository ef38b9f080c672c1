"""``python -I -S …/runner/__main__.py RUN NAME``: a shim, without site-packages."""

import sys

# Isolated (-I), Python looks for no package of ours by itself.
sys.path.append(__file__.rsplit("/", 3)[0])

from queuectl_core.runner.loop import main

if __name__ == "__main__":
    main()
