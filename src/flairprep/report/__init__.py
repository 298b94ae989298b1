"""The HTML report: charts, captions, previews, templates."""
