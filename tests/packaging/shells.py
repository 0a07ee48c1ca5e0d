"""Completions in the shells that read them, and man pages in the program that shows them."""

# needs: zsh=zsh fish=fish mandoc=mandoc

import pathlib
import re
import subprocess
import tempfile

# Starts an interactive zsh on a pseudo-terminal, as a user has it, types each line and Tab into it, and prints what it shows. A marker ends
# each answer, so nothing waits for a fixed time.
ZSH = r"""
zmodload zsh/zpty
zpty shell "TERM=dumb ZDOTDIR=$1 COLUMNS=200 zsh -i"
zpty -r -m shell before '*READY*' || exit 3
for line in "${@:2}"; do
    zpty -w -n shell "$line"$'\t'
    zpty -r -m shell shown '*<END>*' || exit 4
    print -r -- "== $line"
    print -r -- "$shown"
    zpty -w -n shell $'\x15'
done
zpty -d shell
"""

# The start script of that zsh. It finds the script as the documentation installs it: in a folder of `fpath`. Tab completes the line and prints
# it between markers.
ZSHRC = r"""
fpath=($ZDOTDIR/functions $fpath)
autoload -Uz compinit && compinit -u -d $ZDOTDIR/dump 2>>$ZDOTDIR/errors
autoload +X -Uz _sealwright 2>>$ZDOTDIR/errors
print -r -- "$_comps[sealwright]" >$ZDOTDIR/registered
unsetopt prompt_sp beep
PS1=
complete-and-show() {
    zle complete-word 2>>$ZDOTDIR/errors
    print -r -- "<LINE>$BUFFER<END>"
}
zle -N complete-and-show
bindkey '^I' complete-and-show
bindkey '^U' kill-whole-line
print READY
"""


def output(*command, **more):
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, **more)
    assert done.returncode == 0 and done.stderr == "", (command[0], done)
    return done.stdout


def zsh_completes_commands_and_options(program):
    """An interactive zsh loads the script without errors, and completes commands, options and the settings of `serve`."""
    expected = {
        "sealwright cli": "sealwright client ",
        # zsh joins an option and its value with an equals sign.
        "sealwright client create --tok": "sealwright client create --token-lifetime=",
        "sealwright user set-p": "sealwright user set-password ",
        "sealwright serve --drain-t": "sealwright serve --drain-timeout=",
        "sealwright completions f": "sealwright completions fish ",
        # An option that the help of this command does not show is not offered.
        "sealwright client create --drain-t": "sealwright client create --drain-t",
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "functions").mkdir()
        script = folder / "functions" / "_sealwright"
        script.write_text(output(program, "completions", "zsh"))
        (folder / ".zshrc").write_text(ZSHRC)
        output("zsh", "-n", str(script))
        shown = output("zsh", "-f", "-c", ZSH, "zsh", str(folder), *expected)
        assert (folder / "registered").read_text().strip() == "_sealwright", "compinit did not find the script"
        assert (folder / "errors").read_text() == "", (folder / "errors").read_text()
        answers = re.findall(r"== ([^\n]*)\n.*?<LINE>([^\n]*?)<END>", shown, re.DOTALL)
        assert dict(answers) == expected, (answers, shown)
    return f"{len(expected)} lines completed"


def fish_completes_commands_and_options(program):
    """fish loads the script without errors, and lists commands with their descriptions, options, and values."""
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, "sealwright.fish")
        script.write_text(output(program, "completions", "fish"))

        def completed(line):
            lines = output("fish", "--no-config", "-c", f"source {script}; complete -C '{line}'", cwd=folder).splitlines()
            return dict(line.split("\t", 1) if "\t" in line else (line, "") for line in lines)

        commands = completed("sealwright client ")
        assert {"create", "list", "show", "update", "delete", "add-secret"} <= commands.keys(), commands
        assert commands["show"] == "Show one client", commands
        options = completed("sealwright client create --")
        assert {"--grant", "--allow", "--introspects", "--auth-method", "--json", "--config"} <= options.keys(), options
        assert "--drain-timeout" not in options, options
        assert "--drain-timeout" in completed("sealwright serve --")
        assert completed("sealwright completions ").keys() == {"bash", "zsh", "fish"}
    return f"{len(commands)} commands, {len(options)} options of client create"


# What mandoc may say about a page. Neither changes what a reader sees.
TOLERATED = (
    # A page has no date: a date of the build would make two builds of one source differ.
    'WARNING: missing date, using "": TH',
    # clap_mangen writes a line break around an empty line before the values of an option.
    "WARNING: skipping paragraph macro: br before sp",
    "WARNING: skipping paragraph macro: br after sp",
)


def man_pages_are_clean_and_show_the_options_of_their_command(program):
    """mandoc finds nothing wrong with any page, and shows the page of `client create` with its own options."""
    with tempfile.TemporaryDirectory() as folder:
        output(program, "man", "--out", folder)
        pages = sorted(pathlib.Path(folder).glob("*.1"))
        assert len(pages) > 40, pages
        for page in pages:
            found = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], text=True, capture_output=True, timeout=60).stdout
            found = [line for line in found.splitlines() if not line.endswith(TOLERATED)]
            assert not found, found

        def shown(name):
            text = output("mandoc", "-T", "utf8", "-O", "width=78", f"{folder}/{name}.1")
            # Bold and underlined characters are overprinted.
            return re.sub(".\b", "", text)

        create = shown("sealwright-client-create")
        options = create.split("\nOPTIONS")[1].split("\nSETTINGS\n")[0]
        for option in ["--grant <GRANT>", "--allow <RESOURCE=SCOPE,SCOPE>", "--token-lifetime <DURATION>", "--json", "<ID>"]:
            assert f"\n       {option}" in options, (option, create)
        assert "--version" not in create and "EXTRA" not in create, create
        assert "sealwright-settings(1)" in create.split("\nSEE ALSO\n")[1], create
        footer = create.rstrip().splitlines()[-1]
        assert re.fullmatch(r"sealwright \S+ +sealwright-client-create\(1\)", footer), footer
        assert max(map(len, create.splitlines())) <= 80
        assert "SEALWRIGHT_DRAIN_TIMEOUT" in shown("sealwright-settings")
    return f"{len(pages)} pages"
