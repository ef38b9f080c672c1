"""The shim: the small process that is the parent of a supervisor's jobs, and outlives it.

    supervisor ──requests (stdin)──► shim ──posix_spawn──► jobs, each its own process group
        ▲                             │
        └────────events (stdout)──────┼──► RUN/ID.journal   (the same lines, for whoever comes)
                                      └──► RUN/ID.alive     (locked for as long as we live)

Why it exists: the system tells the exit status of a process to its parent, once. When a
supervisor is killed, its jobs go on. If they were its children, nobody would learn how they
ended, and each would have to run again. The shim keeps waiting. It writes every exit to the
journal, and leaves when its last job has ended. The next supervisor on the host reads the journal.

Run as a script by ``python -I -S``: it imports little, so it starts in 15 ms and stays small
(Linux counts the parent's memory at the time of the spawn in a child's peak).

Requests, one JSON array a line; HOW is ``argv, plain, cwd, env, output, limits``, and ``files`` for
a job that has some:
    ["use", worker, queues]                     this worker is idle, until it is recalled
    ["start", token, worker, queues, HOW]       start a job on a worker that is idle
    ["hold", token, queues, HOW]                start a job on the next idle worker of these queues
    ["recall", [worker, …]]                     give back all held jobs; use these workers no more
    ["kill", token, signal]                     to the job's process group
    ["settled", [token, …]]                     the store knows how these ended: forget them
    ["ping"]                                    say a word: is it able to run?
env is added to our own; plain: null, or the words to try before argv (``runner/direct_exec.py``);
output: [file, bytes to keep of it] (see ``output.py``); limits: null, or
[nice, memory, CPU seconds]; files: [file or null, {NAME: file}]: its standard input, whose name is
removed when the job has it, and the values of variables.

Events, one JSON array a line, first to the journal, then to standard output; ``at`` is a moment on
``lease_clock``:
    ["M"]                                       made for a new supervisor (by it, journal only)
    ["H", pid, format]                          a shim began (journal only)
    ["L"]                                       the journal was deleted, and what it said of jobs of
                                                an earlier shim is lost (journal only)
    ["B", token, …]                             about to be started (journal only)
    ["S", token, pid, after, before, at, worker]   started between two moments of the host's clock
    ["F", token, code, reason, at, worker]      could not be started, also after an S
    ["N", token, reason, at, worker]            not started, for lack of something that the host is
                                                short of, also after an S
    ["X", token, code, signal, cpu, rss, at, leftover, bytes, …]   ended; leftover: its group has
                                                not; bytes: it wrote so many;
                                                FENCED after it: its lease had run out;
                                                SIGNALLED: it had been sent a signal by then;
                                                UNSIGNALLED: that was not permitted
    ["E"]                                       the supervisor is gone (journal only)
    ["R"]                                       revoked, by whoever took over (journal only)
    ["R", token]                                refused for that (standard output only)
    ["W", [token, …]]                           recalled, never started (standard output only)
    ["T", token or null, text]                  trouble to tell people of (standard output only)
    ["P", null]                                 the answer to a ping (standard output only)

Before format 2 the H line had no format, X lines had no bytes, and ``at`` was the wall clock, which
somebody may set.

All text is UTF-8 bytes to us and to jobs, whatever the locale: we run with ``-X utf8``. What is
no UTF-8 (a folder's name may be anything) comes as surrogates, as ``os.fsdecode`` makes them.

Nothing that a job or a request does may end the shim. Every signal is ignored that can be, a
malformed request is refused by itself, and children that we did not start are reaped.

Why it holds jobs: one that ends is followed by the next in the same turn of this loop, without
a word from the supervisor, which hears of many at once (see ``supervisor/prefetch.py``).

Who may start: whoever takes over a supervisor's jobs appends a line to the journal under its
lock ("revokes" it). Before each round of starts the shim takes the same lock and reads what others
appended; once it is revoked it starts nothing more. So a job is never started by a supervisor that
was stopped for a while, lost its jobs, and woke up. A shim that finds no journal when it begins
counts as revoked: its supervisor has made one, and who took over may have removed it. On a full
disk a line can't be appended, but NULs can (a hole takes no space): they say the same. Any other
line is passed over.
A journal that was deleted is written anew, with all that a successor must know: before the next
start or exit, on SIGCHLD, and within a second if our supervisor is gone. One that grew is replaced
by a new file. So a process that has got the lock of a journal checks that the name still leads to
that file, and otherwise opens it again. The new file keeps how jobs ended until their supervisor
has settled them.

What may take long: a job's directory or its program may be on a network mount whose server is gone.
Then the kernel lets everybody wait who uses them. The shim never does so itself (``mounts.py``):
such a job is forked, and only its child waits. The shim is in ``/`` except while it starts jobs.
Secrets are always read by such a child, wherever they are: so the shim never has them in memory.

What jobs print comes through a pipe each (``output.py``). A process that a job leaves running may
write to it for as long as it likes, and would be killed if nobody read. So a shim whose jobs and
whose supervisor are gone lets go of everything else, and stays until the last pipe is closed.

How long jobs may run: on a store that hosts share, whoever looks after us writes to RUN/ID.lease
until when our jobs must end unless it writes again (see ``deadline.py``). It does so with each
lease it gets, so that they are gone before another host may take them over; whatever became of it.
"""

import os
import time

from ..system.clocks import LINUX, boot_clock

OWN_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW

ATTEMPT_FILES = "attempts"
"""The folder in the run directory with what attempts get and report."""

REVOKED = b'["R"]\n'
"""The line that takes the right to start jobs away."""

MADE = b'["M"]\n'
"""The line that a journal begins with. One that begins otherwise replaces one that was deleted."""
LOST = b'["L"]\n'
"""The line that says that jobs may have run of which this journal does not speak."""

FENCED = "the store could not be reached while its lease lasted"
"""Why a job was ended, or not started, at the deadline."""

SIGNALLED = "signalled"
UNSIGNALLED = "unsignalled"
FORMAT = 2
"""Of the journal; see the events."""

FUNCTION = "BASH_FUNC_"
"""How the name of a variable begins in which bash hands a function on."""


lease_clock = boot_clock
"""A clock that all processes of this boot share, that nobody can set, and that (on Linux) goes on
while the machine is suspended."""


host_clock = boot_clock if LINUX else time.time
"""The clock the kernel dates processes by: since boot on Linux, since the epoch elsewhere."""


def signal_group(pgid: int, number: int) -> None:
    """Signal a whole process group; one that is gone is passed over."""
    try:
        os.killpg(pgid, number)
    except OSError:
        pass
