"""The leaderboard as pages for people: reads `leaderboards` only."""
