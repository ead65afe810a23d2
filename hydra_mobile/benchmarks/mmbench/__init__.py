"""MMBench: multiple choice, asked with the choices turned round."""
