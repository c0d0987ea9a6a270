"""The one exception that a user is meant to see."""


class PipelineError(Exception):
    """Something the user can mend: its message names the thing, what was expected, what was found.

    `pipeline.stages.command.run` prints the message as one line and exits with code 1;
    anything else that escapes a stage is a bug of ours and keeps its traceback.
    """
