"""What becomes of a signal: a table, and reading what a process ignores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ardock.cli.signals import ENDING, PROXIED, Escalation, is_ignored, name_of

I, T, H, U = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1  # noqa: E741 - short on purpose


@pytest.mark.parametrize(
    ("signals", "reactions"),
    [
        # (signal, ignored by the program)
        ([(I, True), (I, True), (I, True), (I, True)], "explain stop kill kill"),
        ([(T, True), (I, True), (T, True)], "explain stop kill"),
        ([(I, False)] * 4, "forward forward forward forward"),
        ([(U, True)] * 3, "forward forward forward"),
        ([(I, True), (I, False), (I, True)], "explain forward stop"),  # a handler came, and went
        ([(I, True), (I, True), (I, False)], "explain stop kill"),  # a stop that was begun is not undone
        ([(H, True), (H, True)], "kill kill"),  # the person has gone: nobody sends another
        ([(H, False), (H, False)], "forward forward"),
        ([(I, True), (H, True)], "explain kill"),
    ],
)
def test_only_ignored_signals_escalate(signals: list[tuple[int, bool]], reactions: str) -> None:
    escalation = Escalation()
    result = [escalation.react(number, ignored=ignored) for number, ignored in signals]
    assert " ".join(reaction.name.lower() for reaction in result) == reactions


def program(code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", f"import signal, time; {code}; print(flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


@pytest.mark.parametrize(
    ("code", "as_init", "otherwise"),
    [
        ("0", True, False),
        ("signal.signal(signal.SIGTERM, lambda *_: None)", False, False),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", True, True),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])", False, False),
    ],
    ids=["default", "handled", "ignored", "blocked"],
)
def test_the_kernel_says_what_a_process_would_do(code: str, as_init: bool, otherwise: bool) -> None:
    process = program(code)
    try:
        assert is_ignored(process.pid, signal.SIGTERM, is_init=True) is as_init
        assert is_ignored(process.pid, signal.SIGTERM, is_init=False) is otherwise
    finally:
        process.kill()
        process.wait()


def test_a_process_that_is_gone_ignores_nothing() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert is_ignored(process.pid, signal.SIGTERM, is_init=True) is False


def test_every_signal_that_means_something_is_passed_on() -> None:
    assert set(PROXIED) >= ENDING
    own = {signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT}
    assert not own & set(PROXIED)
    assert name_of(signal.SIGINT) == "SIGINT"
    assert name_of(signal.SIGRTMIN + 3) == "SIGRTMIN+3"
    assert os.getpid()


def test_a_signal_in_a_callback_that_cannot_raise_is_no_traceback_and_stays_to_be_read() -> None:
    code = """
import os, signal, sys, weakref
from ardock.cli.signals import Caught

class Thing:
    pass

with Caught() as caught:
    thing = Thing()
    watched = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    del thing
    assert caught.read() == [signal.SIGTERM]
    other = Thing()
    watched = weakref.ref(other, lambda _: 1 / 0)
    del other
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Interrupted" not in done.stderr
    assert "ZeroDivisionError" in done.stderr, "what is a fault is reported"
