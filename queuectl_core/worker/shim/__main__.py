"""``python -I -S …/shim/__main__.py RUN NAME``: a shim, without site-packages."""

import sys

# Isolated (-I), Python looks for no package of ours by itself.
sys.path.append(__file__.rsplit("/", 4)[0])

from queuectl_core.worker.shim.loop import main

if __name__ == "__main__":
    main()
