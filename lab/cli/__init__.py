"""The commands, one function each, in three thin files: of the project, of runs, of speech."""

import sys

from lab.cli.errors import errors_told


def main() -> None:
    """The command line."""
    with errors_told():  # a Ctrl-C while all this is imported too
        import tyro

        from lab.cli import project, speech, training
        from lab.cli.flags import each_flag_once
        from lab.files import absolute_environment
        from lab.threads import spin_shortly

        absolute_environment()  # notebooks work elsewhere
        spin_shortly()  # no command has imported torch yet
        commands = [
            project.run,
            training.train(sys.argv[1:]),
            training.sample,
            speech.transcribe,
            training.runs,
            project.test,
            project.matrix,
            project.lab,
            project.check,
            project.publish,
            project.figures,
            project.bench,
            project.corpus,
        ]
        by_name, given = {command.__name__: command for command in commands}, sys.argv[1:]
        if given and given[0] in by_name:  # alone, so that no flag of another command is suggested
            each_flag_once(given)
            tyro.cli(by_name[given[0]], prog=f"lab {given[0]}", args=given[1:])
        else:
            about = "A notebook-driven workbench for understanding small language models."
            tyro.extras.subcommand_cli_from_dict(by_name, prog="lab", description=about)
