"""Fakes and a simulated clock that ship with the package, for our tests and for users' own."""
