"""`ardock system`: the engine as a whole."""

from __future__ import annotations

from ardock.cli.lazy import LazyGroup

command = LazyGroup(
    "system",
    modules={
        "df": ("ardock.cli.system_df", "Show disk usage"),
        "events": ("ardock.cli.events", "Follow what happens, from now or from any point in the past"),
        "info": ("ardock.cli.info", "Show what this machine and this engine have"),
    },
    help="Manage the engine.",
    subcommand_metavar="COMMAND",
    context_settings={"help_option_names": ["--help"], "max_content_width": 120},
)
