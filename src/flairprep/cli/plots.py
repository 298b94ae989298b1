"""flairprep plots: the plots of `dvc plots show` as one file that needs no internet."""

import argparse

from flairprep.core import console, files


def run(options: argparse.Namespace) -> None:
    """Write the page of the plots of `options.runs`, or of the workspace, to `options.out`."""
    from flairprep.experiments import plots  # imports dvc

    read = plots.read_plots(options.runs)
    files.write_text(options.out, plots.page(read))
    console.say(f"plots: {console.plural(len(read), 'plot')} in {options.out}; open it in a browser")
