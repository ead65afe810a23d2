"""hydra-mobile: fine-tune, export and evaluate mobile vision-language models.

Importing this package imports nothing heavy; each subpackage is loaded by whoever needs it.
"""

__version__ = "0.1.0"
