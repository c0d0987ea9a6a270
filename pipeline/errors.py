"""The exceptions that a user is meant to see."""


class PipelineError(Exception):
    """Something the user can mend: its message names the thing, what was expected, what was found.

    `pipeline.stages.command.run` prints the message as one line and exits with code 1;
    anything else that escapes a stage is a bug of ours and keeps its traceback.
    """


class LeftOut(PipelineError):
    """What cannot apply to a study's images or classifier, and why: the message is the reason, as the report says it.

    A stage that is one attack, one defense, the sizes or the replicates writes the reason in place of its results;
    elsewhere it is an error as any other.
    """
