"""Looking ahead: the fleet file and a trace, replayed through production code."""
