"""What a scenario has to say about itself, and what to think of it."""

import errno
import gc
import sys
import warnings


class Report:
    """Collects the errors that the program was told of, and what is wrong."""

    def __init__(self):
        self.errors = []  # (where, text, errno or None)
        self.problems = []
        self.incomplete = []
        self.warnings = []  # of things left unclosed, as a program that fails in the middle may
        self.aborted = False

    def error(self, where, exc):
        self.errors.append((where, repr(exc), getattr(exc, "errno", None)))

    def problem(self, text):
        self.problems.append(text)

    # ---- where errors can go to ---------------------------------------------------------------

    def handler(self, loop, context):
        exc = context.get("exception")
        if exc is None:
            self.warnings.append(context["message"])
        else:
            self.error(f"handler: {context['message']}", exc)

    def unraisable(self, info):
        self.error(f"unraisable: {info.object!r}", info.exc_value)

    def watch(self):
        sys.unraisablehook = self.unraisable
        warnings.simplefilter("always", ResourceWarning)
        warnings.showwarning = lambda message, *args: self.warnings.append(message)

    # ---- judging ------------------------------------------------------------------------------

    def judge(self, fault):
        """The problems in view of the fault that struck, None if none did."""
        found = list(self.problems)
        if fault is None or not fault.hard:
            found += [f"warning: {text}" for text in self.warnings]
        told = [text for _, text, _ in self.errors]
        if fault is None or not fault.hard:
            found += [f"told of an error: {where}: {text}" for where, text, _ in self.errors]
            found += [f"incomplete: {name}" for name in self.incomplete]
            return found
        if not fault.quiet and fault.value not in [number for *_, number in self.errors]:
            found.append(f"{errno.errorcode[fault.value]} was told to nobody, only {told}")
        if not self.aborted and len(self.incomplete) > fault.times:
            found.append(f"more than what a fault can reach is incomplete: {self.incomplete}")
        return found


def collect():
    for _ in range(3):
        gc.collect()
