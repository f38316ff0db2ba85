"""`ardock image`: named root file systems."""

from __future__ import annotations

from ardock.cli.lazy import LazyGroup

command = LazyGroup(
    "image",
    modules={
        "import": ("ardock.cli.image_import", "Make an image of a directory or an uncompressed tar"),
        "inspect": ("ardock.cli.image_inspect", "Display detailed information on one or more images"),
        "ls": ("ardock.cli.image_ls", "List images"),
        "rm": ("ardock.cli.image_rm", "Remove one or more images"),
    },
    help="Manage images.",
    subcommand_metavar="COMMAND",
    context_settings={"help_option_names": ["--help"], "max_content_width": 120},
)
