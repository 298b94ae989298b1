"""The same function over many cases: worker processes, a cluster, the result cache."""
