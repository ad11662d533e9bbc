"""A lab where a real server is killed and hurt under load, and everything it promised is checked.

    python -m tools.crashlab kill --rounds 50       kill -9 at random instants
    python -m tools.crashlab faults                 what disks, tails and second servers can do
    python -m tools.crashlab faults --strace        errors and kills at named system calls (Linux)

Everything is real: `certeasy serve` as a process with a workdir of its own, ACME clients over TLS
that try again as good clients do, signals, full disks, limits, mounts. Nothing in the server knows
that it is in a lab. What the server answered is written down (`ledger`), what it kept is read from
journal and database without its help (`evidence`), and the one must cover the other.
"""
