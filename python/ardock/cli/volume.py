"""`ardock volume`: what outlives containers."""

from __future__ import annotations

from ardock.cli.lazy import LazyGroup

command = LazyGroup(
    "volume",
    modules={
        "create": ("ardock.cli.volume_create", "Create a volume"),
        "inspect": ("ardock.cli.volume_inspect", "Display detailed information on one or more volumes"),
        "ls": ("ardock.cli.volume_ls", "List volumes"),
        "prune": ("ardock.cli.volume_prune", "Remove unused local volumes"),
        "rm": ("ardock.cli.volume_rm", "Remove one or more volumes"),
    },
    help="Manage volumes.",
    subcommand_metavar="COMMAND",
    context_settings={"help_option_names": ["--help"], "max_content_width": 120},
)
