"""Requests and answers of every route as pydantic models: the words of the API document.

The control plane and the build read them; functions/chat, which checks requests by hand, never
does. One module for each subject.
"""
