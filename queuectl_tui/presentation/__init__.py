"""What a user sees of jobs, workers and attempts, as plain data: no front end, no UI library.

A cell is clean text and a *role*, which says what the text means. Each front end decides how a role
looks, which columns it shows and how wide they are.
"""
