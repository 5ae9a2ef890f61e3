"""What saved runs say, as data: numbers, verdicts, findings, gates. Reports only show it."""
