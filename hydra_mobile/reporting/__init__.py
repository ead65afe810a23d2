"""One report schema, and Markdown, HTML, pictures and terminal tables rendered from it.

Knows nothing of models, runtimes or benchmarks: whoever measured fills in a `schema.Report`.

- `schema`: the dataclasses, to and from JSON; `environment.collect`: the machine
- `write`: `new_report`, `write_report`, `read_report`; `console.print_report`
- `png`: pictures as files, with the `report` extra
"""
