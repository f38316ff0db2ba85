"""Images as Docker shows them: `image inspect`, `image ls`, `history` and `system df`."""

from __future__ import annotations

import json

import pytest

from ardock.docker.images import (
    DIGEST_TABLE,
    HISTORY_HEADINGS,
    IMAGE_HEADINGS,
    Edges,
    ImageUse,
    check_image_filter,
    history_rows,
    image_json,
    image_rows,
)
from ardock.docker.times import SECOND
from ardock.docker.usage import USAGE_HEADINGS, usage_rows
from ardock.docker.values import encode
from ardock.model.image import (
    DiskUsage,
    HealthCheck,
    HistoryEntry,
    ImageConfig,
    ImageDetails,
    ImageInfo,
    Platform,
    UsageLine,
)

ID = "0123456789ab" + "0" * 52
NOW = 1_800_000_000 * SECOND
DIGEST = "sha256:" + "d" * 64

IMAGE = ImageInfo(
    id="sha256:" + ID,
    names=("one:latest", "reg.io:5/two:v1"),
    digests=(f"one@{DIGEST}", f"three@{DIGEST}"),
    created_at=NOW - 600 * SECOND,
    size=1984172,
    files=7,
    labels={"a": "b", "c": ""},
)
NAMELESS = ImageInfo(id="sha256:" + "f" * 64, created_at=NOW - 5 * SECOND, size=5)


def names(rows: list[tuple[str, str]]) -> list[str]:
    return [f"{repository}:{tag}" if repository else "" for repository, tag in rows]


def test_an_image_has_a_line_for_each_name() -> None:
    rows = [row.struct() for row in image_rows([IMAGE, NAMELESS], {}, now=NOW, truncate=True)]
    assert [(row["Repository"], row["Tag"], row["ID"], row["CreatedSince"], row["Size"]) for row in rows] == [
        ("one", "latest", ID[:12], "10 minutes ago", "1.98MB"),
        ("reg.io:5/two", "v1", ID[:12], "10 minutes ago", "1.98MB"),
        ("three", "<none>", ID[:12], "10 minutes ago", "1.98MB"),
        ("<none>", "<none>", "f" * 12, "5 seconds ago", "5B"),
    ]
    assert set(rows[0]) == set(IMAGE_HEADINGS)
    assert image_rows([IMAGE], {}, now=NOW, truncate=False)[0].struct()["ID"] == "sha256:" + ID


def test_digests_have_lines_of_their_own() -> None:
    rows = image_rows([IMAGE, NAMELESS], {}, now=NOW, truncate=True, digests=True)
    assert [row.cells(DIGEST_TABLE[:3]) for row in rows] == [
        ["one", "latest", DIGEST],
        ["reg.io:5/two", "v1", "<none>"],
        ["three", "<none>", DIGEST],
        ["<none>", "<none>", "<none>"],
    ]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"dangling": ("true",)}, [""]),
        ({"dangling": ("false",)}, ["one:latest", "reg.io:5/two:v1", "three:"]),
        ({"reference": ("one",)}, ["one:latest"]),
        ({"reference": ("one:latest",)}, ["one:latest"]),
        ({"reference": ("*two*",)}, []),  # as in a path, * stops at /
        ({"reference": ("*/two*",)}, ["reg.io:5/two:v1"]),
        ({"reference": ("one", "reg.io:5/*")}, ["one:latest", "reg.io:5/two:v1"]),
        ({"reference": ("[n-p]ne:?at[^a]st",)}, ["one:latest"]),
        ({"reference": ("none",)}, []),
        ({"label": ("a",)}, ["one:latest", "reg.io:5/two:v1", "three:"]),
        ({"label": ("a=b", "c=")}, ["one:latest", "reg.io:5/two:v1", "three:"]),
        ({"label": ("a=c",)}, []),
    ],
)
def test_images_are_filtered(filters: dict[str, tuple[str, ...]], found: list[str]) -> None:
    rows = image_rows([IMAGE, NAMELESS], filters, now=NOW, truncate=True)
    assert names([(row.repository, row.tag) for row in rows]) == found


@pytest.mark.parametrize(
    ("edges", "until", "found"),
    [
        (Edges(before=NAMELESS.created_at), None, [IMAGE]),
        (Edges(since=IMAGE.created_at), None, [NAMELESS]),
        (Edges(before=IMAGE.created_at), None, []),
        (Edges(), NAMELESS.created_at, [IMAGE]),
        (Edges(), NOW, [IMAGE, NAMELESS]),
    ],
)
def test_images_are_filtered_by_time(edges: Edges, until: int | None, found: list[ImageInfo]) -> None:
    rows = image_rows([IMAGE, NAMELESS], {}, now=NOW, truncate=True, edges=edges, until=until)
    assert list({row.image.id: row.image for row in rows}.values()) == found


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("foo", "x", "invalid filter 'foo'"),
        ("dangling", "perhaps", "invalid filter 'dangling"),
        ("reference", "a[b", "a bracket is not closed"),
        ("reference", "[z-a]", "bad character range"),
    ],
)
def test_a_filter_of_images_that_is_none_is_refused(name: str, value: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_image_filter(name, value)


def test_an_image_is_shown_in_dockers_shape() -> None:
    details = ImageDetails(
        info=IMAGE,
        config=ImageConfig(
            user="app",
            exposed_ports=("80/tcp",),
            env=("A=b",),
            cmd=("sh",),
            volumes=("/data",),
            labels={"a": "b"},
            healthcheck=HealthCheck(test=("CMD", "x"), interval=5),
            stop_signal="SIGINT",
        ),
        diff_ids=("sha256:1", "sha256:2"),
        layers=("/top", "/middle", "/low"),
        manifest=DIGEST,
        author="me",
        comment="made",
    )
    image = json.loads(encode(image_json(details)))
    assert list(image) == [
        "Id", "RepoTags", "RepoDigests", "Parent", "Comment", "Created", "DockerVersion", "Author", "Config", "Architecture",
        "Os", "Size", "GraphDriver", "RootFS", "Metadata", "Ardock",
    ]  # fmt: skip
    assert image["RepoTags"] == ["one:latest", "reg.io:5/two:v1"]
    assert image["RepoDigests"] == [f"one@{DIGEST}", f"three@{DIGEST}"]
    assert (image["Architecture"], image["Os"], image["Size"]) == ("amd64", "linux", 1984172)
    assert image["RootFS"] == {"Type": "layers", "Layers": ["sha256:1", "sha256:2"]}
    assert image["GraphDriver"]["Data"] == {"LowerDir": "/middle:/low", "UpperDir": "/top"}
    config = image["Config"]
    assert config["ExposedPorts"] == {"80/tcp": {}}
    assert config["Volumes"] == {"/data": {}}
    assert config["Healthcheck"] == {"Test": ["CMD", "x"], "Interval": 5}
    assert (config["Entrypoint"], config["Cmd"], config["OnBuild"]) == (None, ["sh"], None)
    assert config["StopSignal"] == "SIGINT"
    assert "Shell" not in config
    on_btrfs = json.loads(encode(image_json(details, driver="btrfs")))
    assert on_btrfs["GraphDriver"] == {"Data": None, "Name": "btrfs"}
    other = ImageInfo(id="sha256:1", platform=Platform(os="linux", architecture="arm", variant="v7"))
    assert image_json(ImageDetails(info=other, config=ImageConfig()))["Variant"] == "v7"


def test_history() -> None:
    entries = [
        HistoryEntry(created_at=NOW - 3600 * SECOND, created_by="RUN\t" + "x" * 60, comment="c", size=1500),
        HistoryEntry(created_by="FROM", empty_layer=True),
    ]
    first, second = history_rows(entries, IMAGE.id, now=NOW, truncate=True)
    assert set(first.struct()) == set(HISTORY_HEADINGS)
    assert first.cells(["ID", "CreatedSince", "CreatedBy", "Size", "Comment"]) == [
        ID[:12], "About an hour ago", "RUN " + "x" * 40 + "…", "1.5kB", "c",
    ]  # fmt: skip
    assert second.cells(["ID", "CreatedSince", "Size"]) == ["<missing>", "N/A", "0B"]
    exact = history_rows(entries, IMAGE.id, now=NOW, truncate=False, human=False)[0]
    assert exact.cells(["ID", "CreatedBy", "Size"]) == [IMAGE.id, "RUN " + "x" * 60, "1500"]


def test_the_disk_s_room() -> None:
    usage = DiskUsage(
        layers_size=1000,
        images=(UsageLine(id="a", size=600, shared=100, users=2), UsageLine(id="b", size=500, shared=100)),
        containers=(UsageLine(id="c", size=30, users=1), UsageLine(id="d", size=70)),
        volumes=(UsageLine(id="v", size=12_345_678),),
    )
    rows = usage_rows(usage)
    assert [row.cells(["Type", "TotalCount", "Active", "Size", "Reclaimable"]) for row in rows] == [
        ["Images", "2", "1", "1kB", "500B (50%)"],
        ["Containers", "2", "1", "100B", "70B (70%)"],
        ["Local Volumes", "1", "0", "12.35MB", "12.35MB (100%)"],
        ["Build Cache", "0", "0", "0B", "0B"],
    ]
    assert set(rows[0].struct()) == set(USAGE_HEADINGS)


def test_the_room_of_an_image() -> None:
    row = image_rows([IMAGE], {}, now=NOW, truncate=True)[0]._replace(use=ImageUse(shared=172, containers=3))
    assert row.cells(["SharedSize", "UniqueSize", "Containers"]) == ["172B", "1.98MB", "3"]
