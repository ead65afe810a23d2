"""MME: pairs of yes-or-no questions in fourteen categories."""
