"""The `skerry` command: parse, call, print. One module per verb, loaded when it is called."""
