"""A report as text, as JSON and as one HTML page."""
