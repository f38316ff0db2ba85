"""`ardock image`: images."""

from __future__ import annotations

from ardock.cli.lazy import LazyGroup

command = LazyGroup(
    "image",
    modules={
        "fsck": ("ardock.cli.image_fsck", "Verify every digest of the store, and rebuild its index"),
        "history": ("ardock.cli.image_history", "Show the history of an image"),
        "import": ("ardock.cli.image_import", "Import the contents from a tarball to create a filesystem image"),
        "inspect": ("ardock.cli.image_inspect", "Display detailed information on one or more images"),
        "load": ("ardock.cli.image_load", "Load an image from a tar archive or STDIN"),
        "ls": ("ardock.cli.image_ls", "List images"),
        "prune": ("ardock.cli.image_prune", "Remove unused images"),
        "pull": ("ardock.cli.image_pull", "Download an image from a registry"),
        "push": ("ardock.cli.image_push", "Upload an image to a registry"),
        "rm": ("ardock.cli.image_rm", "Remove one or more images"),
        "save": ("ardock.cli.image_save", "Save one or more images to a tar archive"),
        "tag": ("ardock.cli.image_tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    },
    help="Manage images.",
    subcommand_metavar="COMMAND",
    context_settings={"help_option_names": ["--help"], "max_content_width": 120},
)
