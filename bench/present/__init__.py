"""What users see of a run: tables, figures, the report."""
