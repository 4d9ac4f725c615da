"""Answer what the rules ask before any job starts: which jobs, from which files, with how many threads."""
