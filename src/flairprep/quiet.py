"""Import this before tensorflow: its start-up messages would bury what a stage has to say."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only, unless the user asked for more
