"""One order of a hundred names, each proven by dns-01: attempts, transactions, events, seconds.

    python -m tools.manynames [--names 100] [--workers 16] [--clients 16] [--slow MILLISECONDS]

What is measured and how is told in `tests/make/manynames.py`, beside the parts that it is made of.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("tests.make.manynames", run_name="__main__", alter_sys=True)
