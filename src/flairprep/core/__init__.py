"""What every room needs: params, outcomes of cases, tables, files, console and errors."""
