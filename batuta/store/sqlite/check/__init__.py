"""What `batuta doctor` holds a SQLite database against."""
