"""What people are told by e-mail: letters, ways to send one, and who sends those that wait."""
