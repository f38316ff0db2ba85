"""Containers that are kept, in a real terminal (tmux): detach and attach, exec -it, logs -f, events, the table of ps."""

from __future__ import annotations

import pytest

from tests.cli.driver import Ardock, Tmux, shell_line

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def enter(tmux: Tmux, ardock: Ardock, *words: str) -> None:
    tmux.enter(shell_line(ardock.words(*words)))


def prompt(tmux: Tmux) -> str:
    """The screen, once the person's shell is back."""
    return tmux.wait_for(lambda screen: screen.rstrip().endswith("ready>"))


def test_detach_attach_exec_and_logs(tmux: Tmux, ardock: Ardock) -> None:
    enter(tmux, ardock, "run", "-it", "--name", "box", "--rootfs", str(ardock.rootfs), "-e", "PS1=inside> ", "sh")
    tmux.wait_for(lambda screen: "\ninside>" in screen)
    tmux.enter("echo first''word")
    tmux.wait_for_line("firstword")

    # Ctrl-P alone is the shell's; Ctrl-P Ctrl-Q detaches, the terminal is as before, and the exit code says that all is well.
    tmux.key("C-p")
    tmux.key("C-q")
    prompt(tmux)
    tmux.enter("echo detached=$?; stty -a | grep -o ' icanon'")
    tmux.wait_for_line("detached=0")
    tmux.wait_for_line(" icanon")

    enter(tmux, ardock, "ps", "--format", "{{.Names}} {{.Status}}")
    tmux.wait_for(lambda screen: "box Up " in screen)

    # A second program beside it, with a terminal of its own, of this one's size.
    enter(tmux, ardock, "exec", "-it", "box", "sh", "-c", "stty size; tty; exit 4")
    tmux.wait_for_line("30 100")
    prompt(tmux)
    tmux.enter("echo exec=$?")
    tmux.wait_for_line("exec=4")

    # All that the terminal showed is shown again, and typing goes on.
    enter(tmux, ardock, "attach", "--detach-keys", "ctrl-x,d", "box")
    tmux.wait_for(lambda screen: screen.count("firstword") >= 2 and screen.rstrip().endswith("inside>"))
    tmux.enter("echo second''word")
    tmux.wait_for_line("secondword")
    tmux.key("C-x")
    tmux.type("d")
    prompt(tmux)

    enter(tmux, ardock, "attach", "box")
    tmux.wait_for(lambda screen: screen.rstrip().endswith("inside>"))
    tmux.enter("exit 3")
    prompt(tmux)
    tmux.enter("echo attached=$?")
    tmux.wait_for_line("attached=3")
    enter(tmux, ardock, "rm", "box")
    prompt(tmux)


def test_events_and_logs_follow_in_one_terminal_what_is_done_in_another(tmux: Tmux, ardock: Ardock) -> None:
    enter(tmux, ardock, "events", "--since", "1", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
    tmux.wait_for(lambda screen: (ardock.folder / "root" / "engine-id").exists())
    done = ardock.run("--name", "box", "sh", "-c", "echo from the container; exit 2")
    assert done.returncode == 2
    for line in ("create box", "start box", "die box"):
        tmux.wait_for_line(line)
    tmux.key("C-c")
    prompt(tmux)
    enter(tmux, ardock, "logs", "-f", "box")
    tmux.wait_for_line("from the container")
    prompt(tmux)
    enter(tmux, ardock, "rm", "-f", "box")
    prompt(tmux)
