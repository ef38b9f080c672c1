"""Which commands need no shell: those that a shell would only split at spaces, find and run.

Starting a shell to start one program costs as much again as the program's own start. A command
is plain when it is words of harmless characters and its first word is nothing that a shell keeps
for itself. Whether there is such a program is seen when it is started (``spawn.py``): if
it can't be run as it is, the shell is asked after all, and says so in its own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import FUNCTION

STANDARD_SHELL = "/bin/sh"
"""The only shell whose habits we know; with another configured, every command goes to it."""

_PLAIN = re.compile(r" *[\w./+@%,:-]+(?: +[\w./+@%,:=-]+)* *", re.ASCII)
"""Nothing that a shell expands, quotes, redirects or assigns."""

# POSIX: special and regular utilities that live in the shell, and reserved words.
_STANDARD = (
    ". : break continue eval exec exit export readonly return set shift times trap unset "
    "alias bg cd command fc fg getopts hash jobs kill newgrp read type ulimit umask unalias wait "
    "case do done elif else esac fi for if in then until while"
)
# Built in where /bin/sh is dash, bash, ksh, zsh or busybox, and not alike outside.
_OTHERS = (
    "bind builtin caller chdir compgen complete compopt coproc declare dirs disown echo enable "
    "function help history let local logout mapfile popd print printf pushd pwd readarray select "
    "shopt source suspend test time typeset whence"
)
BUILTINS = frozenset(f"{_STANDARD} {_OTHERS}".split())
"""First words that mean something else to a shell than the program of that name."""


def plain_words(command: str, shell: str, env: Iterable[str] = ()) -> list[str] | None:
    """The words of a command that needs no shell; None when it does, or may.

    ``env``: the names of variables the job is given; a function among them is for a shell.
    """
    if shell != STANDARD_SHELL or not _PLAIN.fullmatch(command):
        return None
    if any(name.startswith(FUNCTION) for name in env):
        return None
    words = command.split()
    return None if words[0] in BUILTINS else words
