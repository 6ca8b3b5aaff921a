"""A report in the words of its reader: people, programs, code scanning (SARIF), the annotations of GitHub Actions."""
