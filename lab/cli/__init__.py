"""The commands, one function each, in thin files: of the project, of runs, of speech, of ideas."""

import sys

from lab.cli.errors import errors_told


def main() -> None:
    """The command line."""
    with errors_told():  # a Ctrl-C while all this is imported too
        import tyro

        from lab.cli import project, speech, sweeping, training
        from lab.cli.flags import each_flag_once
        from lab.cli.trial import trial
        from lab.files import absolute_environment
        from lab.threads import spin_shortly

        absolute_environment()  # notebooks work elsewhere
        spin_shortly()  # no command has imported torch yet
        given, swept = sys.argv[1:], {}
        if given[:1] == ["sweep"]:
            each_flag_once(given)
            own, swept = sweeping.split(given[1:])
            given = ["sweep", *own]
        commands = [
            project.run,
            training.train(given),
            sweeping.sweep(swept),
            training.sample,
            speech.transcribe,
            training.runs,
            trial,
            project.test,
            project.matrix,
            project.lab,
            project.check,
            project.publish,
            project.figures,
            project.bench,
            project.corpus,
        ]
        by_name = {command.__name__: command for command in commands}
        if given and given[0] in by_name:  # alone, so that no flag of another command is suggested
            each_flag_once(given)
            tyro.cli(by_name[given[0]], prog=f"lab {given[0]}", args=given[1:])
        else:
            about = "A notebook-driven workbench for understanding small language models."
            tyro.extras.subcommand_cli_from_dict(by_name, prog="lab", description=about)
