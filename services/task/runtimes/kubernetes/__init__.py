"""Members as pods: an Indexed Job per role, watched; see docs/decisions/0030.

``names`` and ``manifests`` are pure; ``pods`` reads what the cluster tells of a member, ``pending``
why one does not start, ``room`` what could ever fit, ``gang`` whose gates may open.
"""
