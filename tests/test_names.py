"""Names are data: whatever folders, models and data sets are called, and whatever shows it."""

import errno
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.golden.stored import FORMATS

import gncn
from budget import later
from command import call
from folders import content
from gncn.base.errors import RunError
from gncn.base.files import place, write_atomic
from gncn.base.screen import Screen, styled
from gncn.base.shown import ERRORS, in_latex, in_markdown, shown
from gncn.figures.network import draw_comparison
from gncn.figures.plots import Curve, draw_curves
from gncn.figures.style import draw, new_figure, style
from gncn.study.compare import as_json, compare, render, rich_tables
from gncn.study.page import make_page, write_report
from gncn.study.summary import summarise
from test_cli import run

TINY = ["--preset", "digits", "--epochs", "1", "--set", "network.sizes=[8,8]"]
TINY += ["--set", "network.group_size=4", "--set", "network.max_norm=1.0"]
MARKUP = "a[:heart:][bold]$\\foo$<script>_x^{%&|`b`"
ACTING = "e\x1b[31mr\x1b]0;t\x07\nc\x9b1m\u202e日😀"
UNDECODABLE = os.fsdecode(b"bad\xff")
NAMES = [MARKUP, "x[/]y", ACTING, UNDECODABLE, "n" * 200]
COMMANDS = ["train", "reconstruct", "settle", "evaluate", "compare", "reproduce", "report", "tune"]
COMMANDS += ["data", "data list", "data fetch", "data verify", ""]
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return shutil.copytree(FORMATS / "run", tmp_path_factory.mktemp("runs") / "plain")


@pytest.fixture
def named(trained, tmp_path):
    """A copy of the run under another name."""

    def copy(name):
        return shutil.copytree(trained, tmp_path / f"run-{name}")

    return copy


def refuses(*arguments):
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert not ACTS.search(done.stdout + done.stderr)
    return done.stderr


def works(*arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert not ACTS.search(done.stdout + done.stderr)
    return done


def test_signs_that_act_are_shown_as_escapes():
    assert shown("plain – ψ\n日😀\u00a0") == "plain – ψ\n日😀\u00a0"
    assert shown(ACTING) == "e\\x1b[31mr\\x1b]0;t\\x07\nc\\x9b1m\\u202e日😀"
    assert shown(UNDECODABLE) == "bad\\udcff"
    assert shown("a\nb", keep="") == "a\\nb"


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_can_be_seen(text):
    assert all(one.isprintable() or unicodedata.category(one) == "Zs" for one in shown(text, ""))


def test_markdown_and_latex_show_names_as_they_are():
    assert in_markdown("x86_64 _x^{ *b* \n[c](d) <s> $\\foo$ a|b") == (
        r"x86_64 \_x^{ \*b\*  \[c\](d) \<s\> \$\\foo\$ a\|b"
    )
    assert in_latex("_x^{ \\foo 5%") == (r"\_x\textasciicircum{}\{ \textbackslash{}foo 5\%")


def test_messages_of_errors_hold_nothing_that_acts():
    assert str(RunError(f"{ACTING} is no run")) == f"{shown(ACTING)} is no run"
    with pytest.raises(RunError, match=r"no model in /nowhere/e\\x1b\[31m"):
        gncn.load(f"/nowhere/{ACTING}")


def test_a_screen_shows_text_as_it_is():
    out = io.StringIO()
    screen = Screen(file=out, width=200, force_terminal=False)
    screen.print(f"{MARKUP} x[/]y {ACTING}", soft_wrap=True)
    screen.print(styled((MARKUP, "bold"), " x[/]y"), soft_wrap=True)
    assert out.getvalue() == f"{MARKUP} x[/]y {shown(ACTING)}\n{MARKUP} x[/]y\n"


@pytest.mark.parametrize(
    "name", [*NAMES[:1], *map(later, NAMES[1:3]), UNDECODABLE, later(NAMES[4])]
)
def test_runs_of_any_name_are_compared(named, name):
    one, other = named(name), named("other")
    done = works("compare", one, other, "--split", "test")
    figure = next(line for line in done.stderr.splitlines() if line.startswith("figure: "))
    assert shown(name, keep="").partition("\\n")[0] in figure
    found = json.loads(works("compare", one, other, "--json").stdout)
    assert [row["run"] for row in found["rows"]] == [str(one), str(other)]
    assert (one / "figures" / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_runs_of_any_name_are_reconstructed(named):
    folder = named(MARKUP + ACTING)
    assert shown(MARKUP + ACTING) in works("reconstruct", folder).stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", [MARKUP, "x[/]y", UNDECODABLE])
def test_runs_of_any_name_are_used(named, name):
    folder = named(name)
    found = json.loads(works("settle", folder, "--json").stdout)
    assert found["figure"] == str(folder / "figures" / "settling-test-0.png")
    assert shown(name) in works("evaluate", folder, "--only", "sparsity", "--only", "probe").stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_trainings_and_files_have_any_name(tmp_path, name):
    images = (np.random.default_rng(0).random((40, 64)) > 0.5).astype(np.uint8)
    (tmp_path / f"{name}.npy").parent.mkdir(exist_ok=True)
    with (tmp_path / f"{name}.npy").open("wb") as file:
        np.save(file, images)
    options = ["--preset", "mnist", *TINY[2:], "--set", "data.image_shape=[8,8]"]
    options += ["--data", tmp_path / f"{name}.npy", "--out", tmp_path / f"out-{name}"]
    if name == UNDECODABLE:  # TOML, in which a run's settings are written, has no such names
        assert "bad\\udcff" in refuses("train", *options)
    else:
        works("train", *options)
        works("train", "--resume", tmp_path / f"out-{name}", "--epochs", 2)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_names_are_refused_in_a_sentence(trained, tmp_path, name):
    folder, out = tmp_path / name, ["--out", tmp_path / "out"]
    first = shown(name).split("\n")[0]
    assert f"--{first}" in refuses("train", f"--{name}").replace("\n", "")
    for wrong in (
        [name],
        ["train", "--set", name, *out],
        ["train", "--set", f"model={name}", *out],
        ["train", "--data", name, *out],
        ["train", "--epochs", name, *out],
        ["train", "--preset", name, *out],
        ["train", "--model", name, *out],
        ["train", "--config", folder, *out],
        ["reconstruct", folder],
        ["evaluate", trained, "--only", name],
        ["compare", trained, "--split", name],
        ["compare", trained, "--format", name],
        ["reproduce", name],
        ["reproduce", "tiny", "--list", "--only", name],
        ["report", folder],
        ["tune", name],
        ["tune", "tiny", "--only", name, *out],
        ["data", "fetch", name],
        ["data", "verify", name],
        ["data", "list", "--data-dir", folder],
    ):
        refuses(*wrong)


def test_tables_hold_models_of_any_name(named):
    folder = named("hostile")
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    about |= {"model": f"{MARKUP}\n| {ACTING}"}
    about["data"]["name"] = MARKUP
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")
    found = compare([folder, named("other")], split="test")
    head, rule, *rows = render(found, "markdown").splitlines()
    for line in (rule, *rows):
        assert len(re.findall(r"(?<!\\)\|", line)) == head.count("|")
    latex = render(found, "latex").splitlines()
    row = next(line for line in latex if "heart" in line)
    assert r"\$\textbackslash{}foo\$<script>\_x\textasciicircum{}\{\%\&|" in row
    columns = len(re.findall(r"(?<!\\)&", row))
    assert columns == next(line for line in latex if "& gncn &" in line).count("&")
    screen = Screen(file=io.StringIO(), width=300)
    for table in rich_tables(found, screen):
        screen.print(table)
    assert "$\\foo$<script>" in screen.file.getvalue()
    assert not ACTS.search(screen.file.getvalue())
    assert as_json(found)["rows"][0]["model"] == about["model"]


@pytest.mark.parametrize("name", [MARKUP, ACTING, UNDECODABLE, "x$y" * 200, "a\n" * 99])
def test_figures_hold_any_name(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = tmp_path / "figure.png"
        draw_comparison(path, {name: [3.0, 2.0], "b": [2.0, 1.0]}, {name: name, "b": name}, name)
        assert path.read_bytes().startswith(b"\x89PNG")
        svg = draw_curves([Curve(name, "#123456", [3.0, 2.0], [0.1, 0.1])], name, "figure")
    assert "<script>" not in svg
    assert not ACTS.search(svg)


def test_matplotlib_still_writes_its_powers_of_ten():
    figure = new_figure(3, 3)
    axes = figure.subplots()
    axes.plot([1, 1000], [1, 2])
    axes.set_xscale("log")
    style(axes, title="$a$", x="$b$")
    svg = draw(figure, "svg").decode()
    assert not axes.title.get_parse_math()
    assert not axes.xaxis.label.get_parse_math()
    assert axes.get_xticklabels()[0].get_parse_math()
    assert "mathdefault" not in re.sub("<!--.*?-->", "", svg, flags=re.DOTALL)


@pytest.mark.slow
def test_reports_hold_any_title(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "study"))
    from handmade import metrics, pictures, record, study

    title = f"{MARKUP}\"' onload=x\n{ACTING}"

    def findings(title):
        made = study(models=("gncn", "gvae", "rae"), trials=1)
        entries = {key: one.model_copy(update={"title": title}) for key, one in made.models.items()}
        of_data = {key: one.model_copy(update={"title": title}) for key, one in made.data.items()}
        made = made.model_copy(
            update={"title": title, "models": entries, "data": of_data, "notes": (title,)}
        )
        records = [
            record(m, bce=(90.0, 50.0), metrics=metrics(log_p=-112, error=3), pictures=pictures())
            for m in made.models
        ]
        return summarise(made, records)

    page = make_page(findings(title))
    assert page.count("<script") == make_page(findings("plain")).count("<script") == 1
    assert "&lt;script&gt;" in page
    assert not ACTS.search(page)
    tags = [
        re.findall("<[^>]*", re.sub("<svg.*?</svg>", "", one, flags=re.DOTALL))
        for one in (page, make_page(findings("plain")))
    ]
    assert [tag.split()[0] for tag in tags[0]] == [tag.split()[0] for tag in tags[1]]
    text = {}
    for name, given_title in (("[a](b) c", title), ("plain", "plain")):
        target = tmp_path / f"{name}.md"
        write_report(findings(given_title), tmp_path / "page.html", target)
        text[name] = target.read_text(encoding="utf-8")
    hostile = text["[a](b) c"]
    assert not ACTS.search(hostile)
    assert "<script" not in hostile.replace("\\<script", "")
    assert "%5Ba%5D%28b%29%20c/" in hostile
    rows = [[row for row in one.splitlines() if row[:1] == "|"] for one in text.values()]
    cells = [[len(re.findall(r"(?<!\\)\|", row)) for row in table] for table in rows]
    assert cells[0] == cells[1]
    assert len(hostile.splitlines()) == len(text["plain"].splitlines())


def streams(encoding):
    """Standard output and error in an encoding, which refuse what it lacks, as Python's do."""
    return [io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2)]


def run_in(encoding, *arguments, columns="20"):
    out, err = streams(encoding)
    code = call(arguments, out, err, COLUMNS=columns, TERM="dumb")
    return code, *(one.buffer.getvalue().decode(encoding) for one in (out, err))


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_streams_of_any_encoding_show_everything(named, encoding):
    for command in COMMANDS:
        code, out, _ = run_in(encoding, *command.split(), "--help")
        assert code == 0
        assert "Usage" in out
    folder = named("日ψ")
    for command in (["data", "list"], ["data", "verify", "mnist"], ["reproduce", "tiny", "--list"]):
        assert run_in(encoding, *command)[0] == 0
    for form in ("text", "markdown", "latex", "json"):
        code, out, err = run_in(
            encoding, "compare", folder, "--split", "test", "--format", form, columns="100"
        )
        assert code == 0, err
        assert "\\u65e5psi" in err
    code, _, err = run_in(encoding, "reconstruct", f"{folder}…")
    assert code == 2
    assert "is not a run folder" in err.replace("\n", " ")


def test_a_stream_writes_stand_ins_for_signs_that_it_lacks():
    assert "ψ ± – … ρ 日".encode("ascii", ERRORS) == b"psi +- - ... rho \\u65e5"
    assert "ψ ± –".encode("cp1252", ERRORS) == b"psi \xb1 \x96"
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", ERRORS)


class Closed(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, text):
        raise BrokenPipeError

    def fileno(self):
        raise io.UnsupportedOperation


class Full(Closed):
    """A file on a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("stream", "status"), [(Closed, 1), (Full, 2)])
def test_results_that_cannot_be_written_end_a_command_and_messages_do_not(
    trained, tmp_path, stream, status
):
    command = ["compare", trained, "--split", "test", "--format"]
    for form in ("text", "markdown", "json"):
        said = io.StringIO()
        assert call([*command, form], stream(), said) == status
        assert ("No space left on device" in said.getvalue()) == (stream is Full)
    figure, out = tmp_path / "figure.png", io.StringIO()
    assert call([*command, "json", "--figure", figure], out, stream()) == 0
    assert json.loads(out.getvalue())["rows"]
    assert figure.exists()
    assert call(["compare", tmp_path], io.StringIO(), stream()) == 2
    assert call(["no-such-command"], io.StringIO(), stream()) == 2


def test_names_that_no_file_can_have_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place("~/x") == tmp_path / "x"
    with pytest.raises(RunError, match=r"'a\\x00b': no file can have this name"):
        place("a\0b")
    with pytest.raises(RunError, match="no such home folder"):
        place("~nobody-has-this-name/x")
    with pytest.raises(RunError, match="encoding of names, utf-8, lacks its signs"):
        place("\ud800")
    with pytest.raises(RunError, match="bytes that are no text"):
        write_atomic(tmp_path / "x", UNDECODABLE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252", "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "20"},
    ],
)
def test_commands_work_in_any_locale(trained, environment):
    for command in (["data", "list"], ["compare", str(trained), "--split", "test"], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-c", "from _gncn import main; main()", *command],
            capture_output=True,
            env=os.environ | environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "train --help", "data list --json"])
def test_a_pipe_may_be_closed(command):
    with subprocess.Popen(
        [sys.executable, "-c", "from _gncn import main; main()", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() in (0, 1)
    assert b"Traceback" not in said
    assert b"Broken" not in said


STREAMS = {">&-": 0, "2>&-": 0, ">/dev/full": 2, "2>/dev/full": 0, ">/dev/full 2>/dev/full": 2}
"""Streams as a shell may redirect them, and the exit status of a command with a result."""


def in_shell(streams, *command):
    """How a command ends whose streams the shell has closed or led elsewhere, and what it says."""
    gncn = shlex.join([sys.executable, "-c", "from _gncn import main; main()", *map(str, command)])
    done = subprocess.run(
        ["sh", "-c", f"exec {gncn} {streams}"], capture_output=True, encoding="utf-8", check=False
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("streams", STREAMS)
def test_help_in_streams_that_a_shell_has_closed_or_that_are_full(streams):
    status, out, _ = in_shell(streams, "--help")
    assert status == STREAMS[streams]
    assert bool(out) == (streams[0] == "2")


@pytest.mark.slow
@pytest.mark.parametrize("streams", STREAMS)
def test_streams_that_a_shell_has_closed_or_that_are_full(trained, streams):
    for command in (["data", "list"], ["compare", trained, "--split", "test"]):
        status, out, err = in_shell(streams, *command)
        assert status == STREAMS[streams]
        assert bool(out) == (streams[0] == "2")
        assert ("No space left on device" in err) == (streams == ">/dev/full")
    figures = content(trained / "figures")
    status, _, err = in_shell(streams, "evaluate", trained, "--only", "sparsity", "--json")
    assert status == STREAMS[streams]
    assert (trained / "metrics-validation.json").exists()
    assert content(trained / "figures").keys() >= figures.keys()
    assert in_shell(streams, "compare", "nowhere")[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("streams", STREAMS)
def test_a_training_is_not_lost_with_its_streams(tmp_path, streams):
    status, *_ = in_shell(streams, "train", *TINY, "--out", tmp_path / "run", "--json")
    assert status == STREAMS[streams]
    about = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert about["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("also_its_results", [False, True])
def test_a_training_goes_on_when_nobody_reads_its_messages(tmp_path, also_its_results):
    """As with `| head`, the status says that results were not read."""
    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", "from _gncn import main; main()", "train", *TINY, "--out", str(out)],
        stdout=subprocess.PIPE if also_its_results else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if also_its_results else subprocess.PIPE,
    ) as process:
        (process.stdout if also_its_results else process.stderr).close()
        assert process.wait() == also_its_results
    about = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert about["status"] == "finished"
