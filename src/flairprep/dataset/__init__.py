"""TFRecord shards, and reading them."""
