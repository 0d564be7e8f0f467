"""Drives the official client against a running server and writes one JSON line a step.

    python run.py HOST   with VARVE_API_KEY, VARVE_ORGANIZATION_ID and VARVE_USER_EMAIL in the environment

HOST is the address without /v1. The exit status is 0 when the run came to its end; how each step ended stands
in its line. Every step runs: one that needs what a failed step should have made is "blocked".
"""

import os
import sys

import account
import batches
import documents
import ingest
import names
import refusals
import removal
import rest
import retrieval
import shortcuts
from connection import Typed, Wrapped
from recorder import Recorder, State

MODULES = [account, ingest, batches, documents, retrieval, refusals, shortcuts, names, rest, removal]


def main():
    host = sys.argv[1].rstrip("/")
    key = os.environ["VARVE_API_KEY"]
    recorder = Recorder(sys.stdout)
    state = State(
        recorder=recorder,
        host=host,
        key=key,
        organization_id=os.environ["VARVE_ORGANIZATION_ID"],
        user_email=os.environ["VARVE_USER_EMAIL"],
        typed=Typed(recorder, host, key),
        wrapped=Wrapped(recorder, host, key),
    )

    def enter(namespace):
        """From now on both layers send this namespace."""
        state.typed = Typed(recorder, host, key, namespace)
        state.wrapped = Wrapped(recorder, host, key, namespace)

    state.enter = enter
    for module in MODULES:
        for step in module.STEPS:
            recorder.run(module.__name__, step, state)
    recorder.finish()


if __name__ == "__main__":
    main()
