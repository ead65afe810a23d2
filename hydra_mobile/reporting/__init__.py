"""One report schema, and Markdown, HTML, pictures and terminal tables rendered from it.

- `schema`: the dataclasses, to and from JSON; `environment.collect`: the machine
- `measures`, `tables`, `benchmark_tables`, `verdicts`: what is shown, before it has a format
- `merge`: several reports as one
- `write`: `new_report`, `write_report`, `read_report`; `console.print_report`
"""
