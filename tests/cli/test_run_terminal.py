"""`ardock run -it` in a real terminal (tmux)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.driver import Ardock, Tmux, command_lines, shell_line, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def pid_of_command(ardock: Ardock) -> int:
    """The process id of the one `ardock run` on this root folder."""
    root = os.fsencode(ardock.folder / "root")
    found = [pid for pid, words in command_lines() if root in words and b"run" in words]
    assert len(found) == 1, found
    return found[0]


def settings(tmux: Tmux) -> str:
    """What `stty -a` says of the terminal, asked by the person's shell."""
    # The mark is typed with quotes inside, so that only the output holds it as it is.
    modes = "echo|icanon|isig|opost|icrnl"
    tmux.enter(f"echo 'mar''k' $(stty -a | tr ' ' '\\n' | grep -xE -e '-?({modes})') 'mar''k'")
    screen = tmux.wait_for(lambda screen: screen.count("mark") == 2)
    return screen.split("mark")[1].strip()


def shell_in(tmux: Tmux, ardock: Ardock, *options: str) -> None:
    """Start an interactive shell in a container."""
    tmux.enter(shell_line(ardock.run_words("-it", *options, "-e", "PS1=inside> ", "sh")))
    tmux.wait_for(lambda screen: "\ninside>" in screen)


def test_a_run_in_a_terminal_and_ctrl_c(tmux: Tmux, ardock: Ardock) -> None:
    program = "trap 'echo interrupted; exit 6' INT; echo running; while :; do sleep 0.1; done"
    tmux.enter(shell_line(ardock.run_words("sh", "-c", program)))
    tmux.wait_for_line("running")
    tmux.key("C-c")
    tmux.wait_for(lambda screen: "interrupted" in screen)
    tmux.enter("echo code=$?")
    tmux.wait_for_line("code=6")


def test_three_ctrl_c_end_a_program_that_ignores_them(tmux: Tmux, ardock: Ardock) -> None:
    tmux.enter(shell_line(ardock.run_words("--stop-timeout", "60", "sh", "-c", "echo ready; exec sleep 1000")))
    tmux.wait_for_line("ready")
    time.sleep(0.3)  # Its first output may be seen before the program that has no handler is executed.
    for words in ("press Ctrl-C again to stop it", "press Ctrl-C again to kill it now"):
        tmux.key("C-c")
        tmux.wait_for_words(words)
    tmux.key("C-c")
    tmux.wait_for(lambda screen: screen.rstrip().endswith("ready>"))
    tmux.enter("echo code=$?")
    tmux.wait_for_line("code=137")


def test_an_interactive_shell_has_a_terminal_job_control_and_the_size(tmux: Tmux, ardock: Ardock) -> None:
    tmux.resize(33, 111)
    shell_in(tmux, ardock)
    tmux.enter("stty size; tty; test -t 0 && test -t 1 && test -t 2 && echo all")
    tmux.wait_for_line("33 111")
    tmux.wait_for_line("/dev/pts/0")
    tmux.wait_for_line("all")

    # Resize: the size inside follows, and a program there is told.
    tmux.resize(40, 120)
    tmux.enter("until stty size | grep -x '40 120'; do sleep 0.1; done")
    tmux.wait_for_line("40 120")
    tmux.enter("sh -c 'trap \"echo size: \\$(stty size)\" WINCH; echo waiting; while :; do sleep 0.1; done'")
    tmux.wait_for_line("waiting")
    tmux.resize(41, 121)
    tmux.wait_for_line("size: 41 121")
    tmux.key("C-c")

    # Job control inside: Ctrl-Z stops the foreground job, fg continues it, Ctrl-C ends it and not the shell.
    # The backslash is the shell's: only the output holds the word as it is waited for.
    tmux.enter("sh -c 'trap \"echo inter\\rupted; exit 7\" INT; echo started; while :; do sleep 0.1; done'")
    tmux.wait_for_line("started")
    tmux.press_until("C-z", "Stopped")
    tmux.enter("fg")
    tmux.press_until("C-c", "interrupted")
    tmux.enter("echo code=$?")
    tmux.wait_for_line("code=7")

    # Ctrl-D ends the shell; the exit code is its own; the terminal is as before.
    tmux.enter("exit 5")
    tmux.wait_for(lambda screen: screen.rstrip().endswith("ready>"))
    tmux.enter("echo out=$?")
    tmux.wait_for_line("out=5")
    assert settings(tmux) == "icrnl opost isig icanon echo"


def test_ctrl_d_ends_the_shell(tmux: Tmux, ardock: Ardock) -> None:
    shell_in(tmux, ardock)
    tmux.key("C-d")
    tmux.wait_for(lambda screen: screen.rstrip().endswith("ready>"))
    assert settings(tmux) == "icrnl opost isig icanon echo"


def test_keys_in_answer_to_the_first_prompt_reach_the_program(ardock: Ardock) -> None:
    """The terminal is raw before the program can write: in between, it would take Ctrl-D (and the line around it) for itself."""
    command = ardock.run_words("--rm", "-it", "-e", "PS1=inside> ", "sh")
    for _ in range(6):
        ours, its = os.openpty()
        with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True) as process:
            os.close(its)
            shown = b""
            while b"inside> " not in shown:
                shown += os.read(ours, 65536)
            # As a terminal does that the shell has asked for its cursor, with a quick person in front of it.
            os.write(ours, b"\x1b[9;9R\x04")
            try:
                assert process.wait(10) == 0
            finally:
                process.kill()
        os.close(ours)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_sane_however_the_command_ends(tmux: Tmux, ardock: Ardock, number: signal.Signals) -> None:
    shell_in(tmux, ardock)
    pid = pid_of_command(ardock)
    assert settings_of(pid) & {"icanon", "echo", "isig"} == set(), "raw while it runs"
    os.kill(pid, number)
    if number == signal.SIGTERM:  # An interactive shell ignores it, as it would outside.
        tmux.enter("exit")
    tmux.wait_for(lambda screen: screen.rstrip().endswith("ready>"))
    assert settings(tmux) == "icrnl opost isig icanon echo"


def settings_of(pid: int) -> set[str]:
    """The terminal's modes as another process sees them, while the command has it."""
    terminal = os.readlink(f"/proc/{pid}/fd/0")
    words = subprocess.run(["stty", "-a", "-F", terminal], capture_output=True, text=True, check=True).stdout
    return {word.rstrip(";") for word in words.split()}


def test_an_error_before_the_start_leaves_the_terminal_alone(tmux: Tmux, ardock: Ardock) -> None:
    tmux.enter(shell_line(ardock.run_words("-it", "/no/such/program")))
    tmux.wait_for(lambda screen: "ardock: " in screen and screen.rstrip().endswith("ready>"))
    tmux.enter("echo code=$?")
    tmux.wait_for_line("code=127")
    assert settings(tmux) == "icrnl opost isig icanon echo"


def test_the_terminals_end_ends_the_container(tmux: Tmux, ardock: Ardock) -> None:
    shell_in(tmux, ardock, "--stop-timeout", "1")
    pid = pid_of_command(ardock)
    tmux.close()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the command has ended")
