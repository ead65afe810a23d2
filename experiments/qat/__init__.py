"""Does training for 4 bits bring an int4 bundle closer to the model? Runs, measurement, table."""
