"""Tell the user's errors from faults of the code."""


class FlairprepError(Exception):
    """An error that the user can fix; the text names the file, the key, the value and the remedy.

    Programs print the text alone and exit with status 1; FLAIRPREP_DEBUG=1 adds the traceback.
    """
