"""A whole fleet through a year: failures, cuts, storms and sun, by the hour and the request."""
