"""Where and how numbers are computed: processes, precision, random streams."""
