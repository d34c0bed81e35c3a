"""Click runs commands: groups, options, prompts, colours, files, errors and help pages, through its CliRunner."""

import enum
import importlib.metadata
import os
import pathlib
import tempfile

import click
from click.testing import CliRunner


class Size(enum.Enum):
    SMALL = enum.auto()
    LARGE = enum.auto()


class Pair(click.ParamType):
    name = "pair"

    def convert(self, value, param, ctx):
        left, mark, right = value.partition("=")
        if not mark:
            self.fail(f"{value!r} has no =", param, ctx)
        return left, right


@click.group(invoke_without_command=True)
@click.option("--debug/--no-debug", default=False, envvar="TOOL_DEBUG", show_envvar=True)
@click.version_option("1.5", prog_name="tool")
@click.pass_context
def tool(ctx, debug):
    """A tool with commands."""
    ctx.obj = {"debug": debug}
    if ctx.invoked_subcommand is None:
        click.echo("no command")


@tool.command()
@click.argument("names", nargs=-1, required=True)
@click.option("-n", "--times", type=click.IntRange(1, 3), default=1, show_default=True, help="How often.")
@click.option("--size", type=click.Choice(Size, case_sensitive=False), default=Size.SMALL)
@click.option("-p", "--pair", "pairs", type=Pair(), multiple=True)
@click.pass_obj
def greet(obj, names, times, size, pairs):
    """Greets NAMES."""
    for _ in range(times):
        click.echo(f"hello {' '.join(names)} {size.name} {dict(pairs)} debug={obj['debug']}")


@tool.command("ask-me")
@click.option("--name", prompt="Your name", default="nobody")
@click.password_option()
@click.confirmation_option(prompt="Sure?")
def ask(name, password):
    click.secho(f"{name} {len(password)}", fg="green", bold=True)


@tool.command()
@click.argument("source", type=click.File("r"))
@click.argument("target", type=click.Path(dir_okay=False, writable=True))
def upper(source, target):
    with click.open_file(target, "w") as out:
        out.write(source.read().upper())
    click.echo("done", err=True)


@tool.command()
def crash():
    raise RuntimeError("as expected")


@tool.command()
@click.pass_context
def refuse(ctx):
    # The length is given because RustPython cannot work it out, see upstream/length_hint.py.
    with click.progressbar([1, 2, 3], length=3, label="work") as bar:
        for _ in bar:
            pass
    ctx.exit(7)


runner = CliRunner()


def run(*args, status=0, **more):
    result = runner.invoke(tool, args, prog_name="tool", **more)
    assert result.exit_code == status, (args, result.exit_code, result.output, result.exception)
    return result


assert run().output == "no command\n"
assert run("--version").output == "tool, version 1.5\n"
assert run("greet", "a", "b", "-n2").output == "hello a b SMALL {} debug=False\n" * 2
result = run("--debug", "greet", "a", "--size", "large", "-p", "k=v", "--pair", "l=w")
assert result.output == "hello a LARGE {'k': 'v', 'l': 'w'} debug=True\n"
assert run("greet", "a", env={"TOOL_DEBUG": "1"}).output.endswith("debug=True\n")
assert os.environ.get("TOOL_DEBUG") is None

# Errors are told on stderr, with status 2 and the usage.
result = run("greet", "a", "-n", "4", status=2)
assert result.stdout == "" and "Usage: tool greet" in result.stderr
assert "Invalid value for '-n' / '--times': 4 is not in the range 1<=x<=3." in result.stderr
assert "Missing argument 'NAMES...'" in run("greet", status=2).stderr
assert "'kv' has no =" in run("greet", "a", "-p", "kv", status=2).stderr
assert "No such command 'gret'" in run("gret", status=2).stderr
assert "No such option '--tims'. Did you mean '--times'?" in run("greet", "--tims", status=2).stderr

page = run("greet", "--help").output
assert page.startswith("Usage: tool greet [OPTIONS] NAMES...\n\n  Greets NAMES.\n"), page
assert "[default: 1; 1<=x<=3]" in page and "[SMALL|LARGE]" in page.upper(), page
page = run("--help").output
assert [line.split()[0] for line in page.partition("Commands:\n")[2].splitlines()] == [
    "ask-me", "crash", "greet", "refuse", "upper",
], page

# Prompts read the isolated standard input; colours are only written when asked for.
result = run("ask-me", input="ann\nsecret\nsecret\ny\n")
assert result.output.endswith("\nann 6\n") and "Your name [nobody]: ann" in result.output, result.output
result = run("ask-me", "--name", "ann", "--password", "x", "--yes", color=True)
assert result.output == "\x1b[32m\x1b[1mann 1\x1b[0m\n", result.output
assert "Aborted!" in run("ask-me", input="ann\nx\nx\nn\n", status=1).output

with tempfile.TemporaryDirectory() as directory:
    source, target = pathlib.Path(directory, "in.txt"), pathlib.Path(directory, "out.txt")
    source.write_text("text\n")
    result = run("upper", str(source), str(target))
    assert (result.stdout, result.stderr) == ("", "done\n")
    assert target.read_text() == "TEXT\n"
    assert "No such file or directory" in run("upper", directory + "/none.txt", str(target), status=2).stderr
    assert run("upper", "-", "-", input="piped").stdout == "PIPED"

result = run("crash", status=1)
assert isinstance(result.exception, RuntimeError) and result.exc_info[0] is RuntimeError
assert "work" in run("refuse", status=7).output

# Nothing of that reached the real streams' configuration.
assert click.get_current_context(silent=True) is None
assert click.unstyle(click.style("x", fg="red")) == "x"

print("ok: click", importlib.metadata.version("click"))
