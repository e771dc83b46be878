"""Adapters from upstream wire protocols to one stream of events.

Plain Python: knows no Django, no Redis, no database and nothing else of this project, so it can be imported alone.
Import from the modules; this file exports nothing, so that one adapter never loads the libraries of another.
"""
