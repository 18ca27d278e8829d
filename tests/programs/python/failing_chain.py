"""Errors that are caught, changed, and in the end not caught."""
import atexit
import contextlib
import io
import traceback


class LedgerError(Exception):
    def __init__(self, account, message):
        super().__init__(f"{account}: {message}")
        self.account = account


def withdraw(balances, account, amount):
    try:
        left = balances[account] - amount
    except KeyError as error:
        raise LedgerError(account, "no such account") from error
    if left < 0:
        raise LedgerError(account, f"short of {-left}")
    balances[account] = left


@contextlib.contextmanager
def step(name):
    print("begin", name)
    try:
        yield
    except LedgerError as error:
        print("  refused:", error, "| cause:", repr(error.__cause__))
    else:
        print("  done")
    finally:
        print("end", name)


balances = {"ann": 50, "bob": 5}
atexit.register(print, "at exit:", balances)
with step("one"):
    withdraw(balances, "ann", 20)
with step("two"):
    withdraw(balances, "bob", 20)
with step("three"):
    withdraw(balances, "eve", 1)

report = io.StringIO()
try:
    [1, 2, 3][int("7")]
except IndexError:
    traceback.print_exc(file=report)
print(report.getvalue().splitlines()[-1])
try:
    raise ExceptionGroup("several", [ValueError("a"), TypeError("b"), ValueError("c")])
except* ValueError as group:
    print("values:", [str(e) for e in group.exceptions])
except* TypeError as group:
    print("types:", [str(e) for e in group.exceptions])
with step("last"):
    withdraw(balances, "ann", None)
print("never printed")
