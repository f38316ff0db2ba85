"""Docker's templates: what is rendered, what is refused and how, and docker itself beside it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardock.cli.format.errors import TemplateError
from ardock.cli.format.lists import list_format, object_format
from ardock.cli.format.tabular import Listed, aligned
from ardock.cli.format.template import Template
from ardock.docker.values import NilList, NilMap, OpenMap

OBJECT = {
    "Id": "x",
    "Name": "/one",
    "Pi": 3.5,
    "State": {"Pid": 7, "Running": True, "Status": "running"},
    "Config": {
        "Cmd": ["sh", "-c", "sleep 1"],
        "Labels": OpenMap({"c": "d=e", "a": "b"}),
        "Entrypoint": NilList(),
        "Volumes": NilMap(),
        "Limit": None,
    },
    "Mounts": [{"Source": "/tmp", "Destination": "/m"}],
    "Label": lambda name: f"label {name}",
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain text", "plain text"),
        ("{{.Name}} {{.State.Pid}} {{.State.Running}} {{.Pi}}", "/one 7 true 3.5"),
        ("{{.State}} {{.Mounts}}", "{7 true running} [{/tmp /m}]"),
        ("{{.Config.Labels}} {{.Config.Cmd}}", "map[a:b c:d=e] [sh -c sleep 1]"),
        ("{{.Config.Labels.a}} {{.Config.Labels.no}}", "b <no value>"),
        ('{{index .Config.Labels "c"}}|{{index .Config.Labels "no"}}|{{index .Config.Cmd 1}}', "d=e||-c"),
        ("{{.Config.Entrypoint}} {{.Config.Volumes}} {{.Config.Limit}}", "[] map[] <nil>"),
        ("{{json .Config}}", '{"Cmd":["sh","-c","sleep 1"],"Labels":{"c":"d=e","a":"b"},"Entrypoint":null,"Volumes":null,"Limit":null}'),
        ("{{json .Name}} {{json .Config.Labels.no}}", '"/one" null'),
        ("{{range .Mounts}}{{.Source}}->{{.Destination}}{{end}}", "/tmp->/m"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=b;c=d=e;"),
        ("{{range $i, $e := .Config.Cmd}}{{if $i}},{{end}}{{$e}}{{end}}", "sh,-c,sleep 1"),
        ("{{range .Config.Entrypoint}}x{{else}}none{{end}}", "none"),
        ("{{range .Config.Cmd}}{{if eq . `-c`}}{{continue}}{{end}}[{{.}}]{{end}}", "[sh][sleep 1]"),
        ("{{range .Config.Cmd}}{{if eq . `-c`}}{{break}}{{end}}[{{.}}]{{end}}", "[sh]"),
        ("{{range .Config.Cmd}}{{$.Name}}{{end}}", "/one/one/one"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Config.Entrypoint}}a{{else if .Id}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Status}}{{end}}{{with .Config.Limit}}x{{else}}none{{end}}", "runningnone"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("{{(index .Mounts 0).Source}}", "/tmp"),
        ("{{.Config.Cmd | len | printf `%03d`}} {{len .Name}}", "003 4"),
        ('{{join .Config.Cmd ","}} {{split "a,b" ","}}', "sh,-c,sleep 1 [a b]"),
        ('{{title "ab cd"}} {{upper "a"}} {{lower "B"}} {{pad "x" 1 2}}| {{truncate "abcdef" 3}}', "Ab Cd A b  x  | abc"),
        ('{{slice "abcdef" 1 3}} {{slice .Config.Cmd 1}}', "bc [-c sleep 1]"),
        ('{{eq .State.Status "x" "running"}} {{ne 1 2}} {{lt 1 2}} {{ge "b" "a"}} {{le 2 1}} {{gt 2 1}}', "true true true true false true"),
        ('{{and true .State.Pid}} {{or "" "x"}} {{not true}} {{and 0 .Nope}}', "7 x false 0"),
        ('{{print 1 2 "a" "b" 3}} {{println 1 "x"}}', "1 2ab3 1 x\n"),
        ('{{printf "%s %5d|%-4s|%q %v %t %x" "a" 7 "b" "c\\n" .Config.Cmd true 255}}', 'a     7|b   |"c\\n" [sh -c sleep 1] true ff'),
        ("a {{- /* comment */ -}} b", "ab"),
        ("a {{- .Id -}}\n b", "axb"),
        ('{{"\\t\\u00e4\\x41"}}{{`\\t`}}', "\täA\\t"),
        ("{{0x10}} {{1e3}} {{'a'}} {{-3}} {{1_000}}", "16 1000 97 -3 1000"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ('{{.Label "a"}}', "label a"),
    ],
)  # fmt: skip
def test_a_template_is_rendered(template: str, expected: str) -> None:
    assert Template(template).render(OBJECT) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.X", "unclosed action"),
        ("{{", "unclosed action"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{if}}", "missing value for if"),
        ("{{if .Id}}", "unexpected EOF: {{if}} has no {{end}}"),
        ("{{range .Id}}{{else}}{{else}}{{end}}", "expected end; found {{else}}"),
        ("{{foo .Id}}", 'function "foo" not defined'),
        ("{{call .Id}}", 'function "call" is not supported'),
        ("{{html .Id}}", 'function "html" is not supported'),
        ('{{define "x"}}a{{end}}', "{{define}} is not supported"),
        ('{{template "x"}}', "{{template}} is not supported"),
        ('{{block "x" .}}{{end}}', "{{block}} is not supported"),
        ("{{$y}}", "undefined variable '$y'"),
        ("{{$y = 1}}", "undefined variable '$y'"),
        ("{{.A.}}", "unexpected . in operand"),
        ("{{1 | 2}}", "non executable command in pipeline stage 2"),
        ('{{"a" "b"}}', 'can\'t give argument to non-function "a"'),
        ("{{(.Id}}", "unclosed left paren"),
        ("{{/* x}}", "unclosed comment"),
        ('{{"x}}', "unterminated quoted string"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{.Id}", "unexpected '}' in an action"),
        ('{{"\\q"}}', "invalid escape \\q in a string"),
        ("{{if .Id}}" * 60, "nested deeper than 50"),
        ("{{" + "(" * 2000 + "}}", "nested deeper than 50"),
        ("{{if $a, $b := .Id}}{{end}}", "too many declarations in if"),
    ],
)
def test_a_template_that_is_none_is_refused_by_name(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(template)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Foo}}", "at <.Foo>: there is no field Foo"),
        ("{{.State.Foo}}", "at <.State.Foo>: there is no field Foo"),
        ("{{.Config.Limit.X}}", "at <.Config.Limit.X>: nil has no field X"),
        ("{{.Id.X}}", "at <.Id.X>: can't evaluate field X in x"),
        ("{{index .Config.Cmd 9}}", "at <index .Config.Cmd 9>: error calling index: index out of range: 9"),
        ("{{len .State.Pid}}", "at <len .State.Pid>: error calling len: len of 7"),
        ('{{eq 1 "a"}}', 'at <eq 1 "a">: error calling eq: incompatible types for comparison'),
        ("{{lt true false}}", "at <lt true false>: error calling lt: incompatible types for comparison"),
        ("{{join .Name `,`}}", "at <join .Name `,`>: error calling join: wrong type for value; expected a list; got /one"),
        ("{{upper}}", "at <upper>: wrong number of args for upper: want 1 got 0"),
        ("{{.Name 1}}", "at <.Name>: Name has arguments but cannot be invoked as function"),
        ("{{.Label}}", "at <.Label>: wrong number of args for Label: got 0"),
        ('{{printf "%d" "x"}}', 'at <printf "%d" "x">: error calling printf: printf: %d cannot print x'),
        ('{{printf "%d"}}', 'at <printf "%d">: error calling printf: printf: no value for %d'),
        ("{{range .Name}}{{end}}", "range can't iterate over /one"),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_is_told_with_its_place(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(template).render(OBJECT)
    assert message in str(caught.value)


@given(st.text(alphabet="{}.-/*| $:=()\"'`abilnrgefdsx01\\\n", max_size=40))
def test_any_text_is_a_template_or_a_template_error(text: str) -> None:
    """Any other exception fails the test."""
    with suppress(TemplateError):
        Template("{{" + text).render(OBJECT)


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_actions_is_itself(text: str) -> None:
    assert Template(text).render({}) == text


# Of the language alone, so that an object that docker has without a daemon will do.
SAME_AS_DOCKER = [
    "{{.Name}} {{len .Name}} {{upper .Name}} {{json .Name}} {{printf `%q %v %s %10s|%-10s|` .Name .Name .Name .Name .Name}}",
    "{{range $k, $v := .Endpoints}}{{$k}};{{end}}",
    '{{title "ab cd e\'f"}} {{pad "x" 2 3}}| {{pad "" 2 3}}| {{truncate "abcdef" 3}} {{split "a,b" ","}} {{lower "AB"}}',
    '{{slice "abcdef" 1 3}} {{eq 1 1}} {{eq "a" "b" "a"}} {{ne 1 2}} {{lt 1 2}} {{le "a" "a"}} {{gt 2.5 1.5}} {{ge 1 2}}',
    "{{and 1 0}} {{and 1 2}} {{or 0 3}} {{or 0 ``}}| {{not 0}} {{print 1 2 `a` `b` 3 nil}} {{println 1 `x`}}",
    "{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}} {{with $y := 5}}{{$y}}{{.}}{{end}}",
    "a {{- 1 -}} b {{- /* c */ -}} d {{/* e */}}f",
    "{{if and (eq 1 1) (ne 1 2)}}yes{{else}}no{{end}} {{if 0}}a{{else if 1}}b{{end}} {{if ``}}a{{else}}b{{end}}",
    "{{0x1F}} {{1e3}} {{'a'}} {{-3}} {{1.50}} {{1e21}} {{1e20}} {{0.00001}} {{100000.0}} {{017}} {{true}}",
    '{{"\\t\\n\\u00e4\\x41\\101"}} {{`\\t`}} {{printf "%05d|%+d|%x|%X|%c|%t|%5.2f|%%" 42 42 255 255 65 true 3.14159}}',
    "{{join (split `a,b,c` `,`) `-`}} {{len (split `a,b` `,`)}} {{index (split `a,b` `,`) 1}} {{json (split `a,b` `,`)}}",
    "{{range $i, $e := split `a,b,c` `,`}}{{if eq $e `b`}}{{continue}}{{end}}{{$i}}{{$e}}{{end}}",
    "{{range split `a,b,c` `,`}}{{if eq . `b`}}{{break}}{{end}}{{.}}{{end}} {{range 3}}{{.}}{{end}}",
    "{{.Endpoints.nothing}} {{printf `%q` (split `a,b` `,`)}} {{printf `%v` 1.0}} {{printf `%6.2f|` 1.0}} {{eq `a` `b`}}",
    "{{.Foo}}", "{{end}}", "{{if}}", "{{foo}}", "{{.X", "{{$y}}", "{{1 | 2}}", "{{index `abc` 9}}", "{{eq 1 `a`}}", "{{`a` `b`}}",
    "{{break}}", "{{if 1}}", "{{(1}}", "{{/* x}}", "{{len 3}}", "{{1.Foo}}", "{{upper}}", "{{upper `a` `b`}}", "{{lt true false}}",
]  # fmt: skip


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command to compare with")
@pytest.mark.parametrize("template", SAME_AS_DOCKER)
def test_docker_renders_the_same(template: str) -> None:
    command = ["docker", "--context", "default", "context", "inspect", "default"]
    docker = subprocess.run([*command, "-f", template], capture_output=True, text=True, check=False)
    context = {
        "Name": "default",
        "Metadata": {},
        "Endpoints": OpenMap({"docker": OpenMap({"Host": "", "SkipTLSVerify": False})}),
    }
    try:
        ours = Template(template).render(context)
    except TemplateError:
        assert docker.returncode != 0
    else:
        assert (docker.returncode, docker.stdout) == (0, ours + "\n")


# Lists.


class Thing:
    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    def struct(self) -> dict[str, object]:
        return {"Name": self.name, "Size": self.size, "Label": lambda key: f"<{key}>"}

    def cells(self, names: Sequence[str]) -> list[str]:
        return [str(self.struct()[name]) for name in names]


LISTED = Listed({"Name": "NAME", "Size": "THE SIZE"}, ("Name", "Size"), [Thing("a", 1), Thing("longer name", 2)])


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("", ["NAME          THE SIZE", "a             1", "longer name   2"]),
        ("table", ["NAME          THE SIZE", "a             1", "longer name   2"]),
        ("json", ['{"Name":"a","Size":1}', '{"Name":"longer name","Size":2}']),
        ("{{.Name}}\\t{{.Size}}", ["a\t1", "longer name\t2"]),
        ("table {{.Size}}\\t{{upper .Name}}", ["THE SIZE   NAME", "1          A", "2          LONGER NAME"]),
        ('table {{.Name}}\\t{{.Label "com.x.my-label"}}', ["NAME          my label", "a             <com.x.my-label>", "longer name   <com.x.my-label>"]),
    ],
)  # fmt: skip
def test_a_list_is_shown_as_asked(form: str, lines: list[str]) -> None:
    assert list(list_format(form).lines(LISTED)) == lines


def test_a_column_that_is_not_there_is_an_error_of_the_table_even_without_rows() -> None:
    with pytest.raises(TemplateError, match="there is no field Foo"):
        list(list_format("table {{.Foo}}").lines(Listed(LISTED.headings, LISTED.table, [])))


def test_raw_is_refused_by_name() -> None:
    with pytest.raises(TemplateError, match="raw is not supported"):
        list_format("raw")


def test_an_object_is_json_or_a_template() -> None:
    assert object_format("json")({"A": NilList()}) == '{"A":null}'
    assert object_format("{{.A}}")({"A": NilList()}) == "[]"


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([["a", "b", "c"], ["long enough", "", "c"]], ["a             b         c", "long enough             c"]),
        # A column is as wide as its cells in the rows around, not as in the whole table.
        ([["a", "x"], ["one"], ["something long", "y"]], ["a         x", "one", "something long   y"]),
        ([], []),
        ([[""]], [""]),
    ],
)
def test_columns_are_set_as_by_tabwriter(rows: list[list[str]], lines: list[str]) -> None:
    assert list(aligned(rows)) == lines
