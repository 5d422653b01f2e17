"""What feeds and follows a model: sources, preprocessing, postprocessing, actions.

Takes a signal (a file in a folder); gives a label, and a summary without the content.
"""
