"""The errors that end a stage: what a user did can be told apart from what the code did."""


class FlairprepError(Exception):
    """Something the user can fix; the text names the file, the key, the value and the remedy.

    Whoever runs the program sees the text alone and exit status 1 (a traceback with FLAIRPREP_DEBUG=1).
    """
