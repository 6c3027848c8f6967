"""What comes in from outside, checked before anything else sees it: JSON lines, conditions, bounded bodies."""
