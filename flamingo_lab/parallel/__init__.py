"""One model split over several processes: each holds a slice of every layer, and all compute each pass together."""
