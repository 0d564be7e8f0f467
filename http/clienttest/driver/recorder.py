"""Steps, what they called, and how they ended: one JSON line each on standard output."""

import json
import os
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Blocked(Exception):
    """A step needs something that an earlier step should have made."""


class Mismatch(Exception):
    """An answer came, and does not say what it should."""


class State:
    """What the steps made so far, by name. Reading what is not there blocks the step."""

    def __init__(self, **known):
        self.__dict__.update(known)

    def __getattr__(self, name):
        raise Blocked(f"needs {name}, which an earlier step makes")


class Recorder:
    """Runs steps one after the other and keeps count of the operations that they drove."""

    def __init__(self, out):
        self.out = out
        self.driven = {}  # operation -> number of calls whose answer was parsed
        self.declined = {}  # operation -> the message of its 501
        self.current = []

    def drove(self, operation):
        self.driven[operation] = self.driven.get(operation, 0) + 1
        self.current.append(operation)

    def decline(self, operation, message):
        self.declined[operation] = message
        self.current.append(operation + " (501)")

    def run(self, module, step, state):
        self.current = []
        started = time.monotonic()
        result, detail = "pass", ""
        try:
            step(state)
        except Blocked as e:
            result, detail = "blocked", str(e)
        except Mismatch as e:
            result, detail = "fail", f"{e}\n{_where(e)}"
        except Exception as e:  # every other outcome is reported with its place, and the run goes on
            result, detail = "fail", f"{type(e).__name__}: {str(e)[:1500]}\n{_where(e)}"
        self._write(
            step=step.__doc__.strip().splitlines()[0].rstrip("."),
            module=module,
            operations=self.current,
            result=result,
            detail=detail,
            ms=round((time.monotonic() - started) * 1000),
        )

    def finish(self):
        self._write(summary=True, driven=self.driven, declined=self.declined)

    def _write(self, **line):
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()


def _where(error):
    """The driver's own lines that led to the error, innermost last."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(HERE)]
    return "\n".join(f"  {f.filename.rsplit('/', 1)[1]}:{f.lineno}: {f.line}" for f in frames[-4:])


def equal(got, want, what):
    """Checks one value of an answer."""
    if got != want:
        raise Mismatch(f"{what}: got {got!r}, want {want!r}")


def holds(condition, what):
    """Checks that something is true of an answer; what says what should be."""
    if not condition:
        raise Mismatch(what)


def contains(whole, part, what):
    """Checks that a list, map or text has a part."""
    if part not in whole:
        raise Mismatch(f"{what}: {part!r} is not in {str(whole)[:600]!r}")


def rows(answer):
    """The list in an untyped answer: itself, or its first member that is a list of objects."""
    if isinstance(answer, list):
        return answer
    for name in ("results", "users", "keys", "api_keys", "documents", "items"):
        if isinstance(answer.get(name), list):
            return answer[name]
    for value in answer.values():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return value
    raise Mismatch(f"no list of objects in {str(answer)[:600]}")
