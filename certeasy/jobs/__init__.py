"""Work outside any transaction: validating challenges, having certificates issued, looking after
the clock."""
