"""The core of queuectl: jobs, the store that keeps them, and the workers that run them.

Front ends call :class:`queuectl_core.queue.Queue` and nothing below it. Nothing here
imports click, textual or rich, and importing this package imports none of its parts.
"""

__version__ = "0.1.0"
