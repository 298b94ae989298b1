"""What every package needs: params, codes and outcomes of cases, tables, files, console and errors."""
